//! The model of an event: its type and its names.

use syn::{Attribute, Data, DeriveInput, Ident, LitStr};

use crate::{
    errors::{Errors, arguments_of},
    names,
};

pub(super) struct Event<'a> {
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
        let kinds = match &input.data {
            Data::Enum(data) => {
                for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
                    errors.at(
                        attribute,
                        "each variant of an enum is an event with a name: write `#[event(\"chat.message\")]` above a variant, not above the enum",
                    );
                }
                data.variants
                    .iter()
                    .map(|variant| Kind::new(&variant.ident, &variant.attrs, errors))
                    .collect()
            }
            Data::Struct(_) | Data::Union(_) => vec![Kind::new(&input.ident, &input.attrs, errors)],
        };
        Self { ident: &input.ident, is_enum: matches!(input.data, Data::Enum(_)), kinds }
    }
}

impl<'a> Kind<'a> {
    fn new(ident: &'a Ident, attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut written: Option<LitStr> = None;
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("event")) {
            match attribute.parse_args::<LitStr>() {
                Ok(_) if written.is_some() => {
                    errors.at(attribute, "an event can have only one name: remove one of the two")
                }
                Ok(name) => written = Some(name),
                Err(_) => errors.at(
                    arguments_of(attribute),
                    "write one name, in parentheses and quotes: `#[event(\"chat.message\")]`",
                ),
            }
        }
        let name = written.as_ref().map_or_else(|| names::dotted(ident), LitStr::value);
        Self { ident, name, written }
    }
}
