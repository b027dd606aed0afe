//! The model of an event: its type and its names.

use syn::{Attribute, Data, DeriveInput, Ident, LitStr, Token, parse::ParseStream};

use crate::{
    errors::{Errors, arguments_of},
    names,
    root::Root,
};

mod word {
    syn::custom_keyword!(transient);
}

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
    /// Whether no group keeps it: `#[event(transient)]` on it or on its enum.
    pub(super) is_transient: bool,
}

impl<'a> Event<'a> {
    pub(super) fn from_input(input: &'a DeriveInput, errors: &mut Errors) -> Self {
        let of_type = Words::read(&input.attrs, true, errors);
        let kinds = match &input.data {
            Data::Enum(data) => {
                if let Some(name) = &of_type.name {
                    errors.at(
                        name,
                        "each variant of an enum is an event with a name: write `#[event(\"chat.message\")]` above a variant, not above the enum",
                    );
                }
                let kind = |variant: &'a syn::Variant| {
                    let mut words = Words::read(&variant.attrs, false, errors);
                    if let (Some(_), Some(word)) = (&of_type.transient, &words.transient) {
                        errors.at(
                            word,
                            "the whole enum is `transient`: remove the word here, or above the enum",
                        );
                    }
                    words.transient = words.transient.or(of_type.transient);
                    Kind::new(&variant.ident, words)
                };
                data.variants.iter().map(kind).collect()
            }
            Data::Struct(_) | Data::Union(_) => vec![Kind::new(&input.ident, of_type.clone())],
        };
        Self { root: of_type.root, ident: &input.ident, is_enum: matches!(input.data, Data::Enum(_)), kinds }
    }
}

/// What stands in the `#[event(…)]` attributes of a type or a variant.
#[derive(Clone, Default)]
struct Words {
    root: Root,
    name: Option<LitStr>,
    transient: Option<word::transient>,
}

impl Words {
    fn read(attributes: &[Attribute], of_type: bool, errors: &mut Errors) -> Self {
        let mut words = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("event")) {
            let before = words.name.is_some();
            let mut again = None;
            let read = |input: ParseStream<'_>| words.add(input, of_type, &mut again);
            match attribute.parse_args_with(read) {
                Ok(true) if before => {
                    errors.at(attribute, "an event can have only one name: remove one of the two")
                }
                Ok(_) => {}
                Err(_) => errors.at(
                    arguments_of(attribute),
                    "write one name, in parentheses and quotes: `#[event(\"chat.message\")]`, or the word `transient`: `#[event(transient)]`",
                ),
            }
            if let Some(again) = again {
                errors.at(again, "`transient` stands here twice: remove one of the two");
            }
        }
        words
    }

    /// Returns whether a name stands there. The first name counts. `again` is a `transient` too many.
    fn add(
        &mut self,
        input: ParseStream<'_>,
        of_type: bool,
        again: &mut Option<word::transient>,
    ) -> syn::Result<bool> {
        let mut named = false;
        loop {
            if of_type && input.peek(Token![crate]) {
                self.root = Root::parse(input)?;
            } else if input.peek(word::transient) {
                let word = input.parse()?;
                if self.transient.is_some() {
                    *again = Some(word);
                }
                self.transient = Some(word);
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
    fn new(ident: &'a Ident, words: Words) -> Self {
        let Words { name: written, transient, .. } = words;
        let name = written.as_ref().map_or_else(|| names::dotted(ident), LitStr::value);
        Self { ident, name, written, is_transient: transient.is_some() }
    }
}

/// The path of the library for a derive that has no other words.
pub(crate) fn root_of(attributes: &[Attribute], errors: &mut Errors) -> Root {
    Words::read(attributes, true, errors).root
}
