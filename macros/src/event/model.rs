//! The model of an event: its type and its names.

use syn::{Attribute, Data, DeriveInput, Ident, LitStr, Token, parse::ParseStream};

use crate::{
    errors::{Errors, arguments_of},
    names,
    root::Root,
};

pub(super) struct Event<'a> {
    pub(super) root: Root,
    pub(super) ident: &'a Ident,
    /// If true, each variant has a name, and not the type.
    pub(super) is_enum: bool,
    /// One for a struct, or one for each variant of an enum.
    pub(super) kinds: Vec<Kind<'a>>,
}

/// A struct, or a variant of an enum.
pub(super) struct Kind<'a> {
    pub(super) ident: &'a Ident,
    pub(super) name: String,
    /// The name in `#[event("xx.oo")]`. Without it, the name comes from the Rust name.
    pub(super) written: Option<LitStr>,
}

impl<'a> Event<'a> {
    pub(super) fn from_input(input: &'a DeriveInput, errors: &mut Errors) -> Self {
        let of_type = Words::read(&input.attrs, true, errors);
        let kinds = match &input.data {
            Data::Enum(data) => {
                if let Some(name) = of_type.name {
                    errors.at(
                        name,
                        "each variant of an enum is an event with a name: write `#[event(\"chat.message\")]` above a variant, not above the enum",
                    );
                }
                let name = |attributes, errors: &mut Errors| Words::read(attributes, false, errors).name;
                data.variants
                    .iter()
                    .map(|variant| Kind::new(&variant.ident, name(&variant.attrs, errors)))
                    .collect()
            }
            Data::Struct(_) | Data::Union(_) => vec![Kind::new(&input.ident, of_type.name)],
        };
        Self { root: of_type.root, ident: &input.ident, is_enum: matches!(input.data, Data::Enum(_)), kinds }
    }
}

/// What stands in the `#[event(…)]` attributes of a type or a variant.
#[derive(Default)]
struct Words {
    root: Root,
    name: Option<LitStr>,
}

impl Words {
    fn read(attributes: &[Attribute], of_type: bool, errors: &mut Errors) -> Self {
        let mut words = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("event")) {
            let before = words.name.is_some();
            let read = |input: ParseStream<'_>| words.add(input, of_type);
            match attribute.parse_args_with(read) {
                Ok(true) if before => {
                    errors.at(attribute, "an event can have only one name: remove one of the two")
                }
                Ok(_) => {}
                Err(_) => errors.at(
                    arguments_of(attribute),
                    "write one name, in parentheses and quotes: `#[event(\"chat.message\")]`",
                ),
            }
        }
        words
    }

    /// Returns whether a name stands there. The first name counts.
    fn add(&mut self, input: ParseStream<'_>, of_type: bool) -> syn::Result<bool> {
        let mut named = false;
        loop {
            if of_type && input.peek(Token![crate]) {
                self.root = Root::parse(input)?;
            } else {
                let name: LitStr = input.parse()?;
                self.name.get_or_insert(name);
                named = true;
            }
            if input.is_empty() {
                return Ok(named);
            }
            input.parse::<Token![,]>()?;
        }
    }
}

impl<'a> Kind<'a> {
    fn new(ident: &'a Ident, written: Option<LitStr>) -> Self {
        let name = written.as_ref().map_or_else(|| names::dotted(ident), LitStr::value);
        Self { ident, name, written }
    }
}

/// The path of the library for a derive that has no other words.
pub(crate) fn root_of(attributes: &[Attribute], errors: &mut Errors) -> Root {
    Words::read(attributes, true, errors).root
}
