//! The rules for an event's type. They keep the wire form a map of `type` and the event's own fields.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, Data, DeriveInput, Field, Fields, GenericParam, Ident, LitStr, Token, ext::IdentExt,
    meta::ParseNestedMeta, parse::ParseStream,
};

use super::{model::Event, rename::Rule};
use crate::{errors::Errors, names, types::not_an_event};

const NO_FIELDS: &str = "an event without fields has no parentheses: remove them";
const OWNED: &str = "an event owns its data: write `String` or `Cow<'static, str>`";

pub(super) fn check(input: &DeriveInput, event: &Event<'_>, errors: &mut Errors) {
    check_names(event, errors);
    match input.generics.params.first() {
        Some(GenericParam::Lifetime(lifetime)) => errors.at(lifetime, OWNED),
        Some(parameter) => errors.at(parameter, "an event cannot have generic parameters: remove them, and write fixed types for the fields, for example `String`"),
        None => {}
    }
    let names = serde(&input.attrs, Place::Type, errors);
    match &input.data {
        Data::Struct(data) => {
            if let Fields::Unnamed(fields) = &data.fields {
                let text = if fields.unnamed.is_empty() {
                    NO_FIELDS
                } else {
                    "the fields of an event must have names: write `{ text: String }` instead of `(String)`"
                };
                errors.at(fields, text);
            }
            check_fields(&data.fields, names.all, errors);
        }
        Data::Enum(data) => {
            if data.variants.is_empty() {
                errors.at(
                    &input.ident,
                    "each variant of an enum is an event, and this enum has none: add a variant",
                );
            }
            for variant in &data.variants {
                let of_variant = serde(&variant.attrs, Place::Variant, errors);
                if let Fields::Unnamed(fields) = &variant.fields
                    && fields.unnamed.len() == 1
                    && let Some(what) = not_an_event(&fields.unnamed[0].ty)
                {
                    let name = &variant.ident;
                    errors.at(&fields.unnamed[0].ty, format_args!(
                        "the value of a variant must be a struct, because its fields stand beside `type`, and {what} has no named fields: write `{name} {{ text: … }}`"
                    ));
                }
                if let Fields::Unnamed(fields) = &variant.fields
                    && fields.unnamed.len() != 1
                {
                    let text = if fields.unnamed.is_empty() {
                        NO_FIELDS.to_owned()
                    } else {
                        let name = &variant.ident;
                        format!(
                            "the fields of an event must have names: write `{name} {{ text: String }}`, or `{name}(ChatMessage)` with one struct"
                        )
                    };
                    errors.at(fields, text);
                }
                check_fields(&variant.fields, of_variant.all.or(names.all_fields), errors);
            }
        }
        Data::Union(data) => {
            errors.at(data.union_token, "a union cannot be an event: write a struct or an enum")
        }
    }
}

fn check_names(event: &Event<'_>, errors: &mut Errors) {
    for (at, kind) in event.kinds.iter().enumerate() {
        if let Some(mistake) = names::mistake(&kind.name) {
            match &kind.written {
                Some(name) => errors.at(name, format_args!("an event's name {mistake}")),
                None => errors.at(
                    kind.ident,
                    format_args!("the name of this event would be {:?}, but an event's name {mistake}: write another name above `{}`, for example `#[event(\"chat.message\")]`", kind.name, kind.ident),
                ),
            }
        } else if let Some(first) = event.kinds[..at].iter().find(|other| other.name == kind.name) {
            let taken = format!("the variant `{}` already has the name {:?}", first.ident, kind.name);
            match &kind.written {
                Some(name) => errors.at(name, format_args!("{taken}: write another name")),
                None => errors.at(
                    kind.ident,
                    format_args!(
                        "{taken}: write another name above `{}`, for example `#[event(\"chat.message\")]`",
                        kind.ident
                    ),
                ),
            }
        }
    }
}

/// `rule` is serde's `rename_all` for the fields.
fn check_fields(fields: &Fields, rule: Option<Rule>, errors: &mut Errors) {
    for field in fields {
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
            errors.at(attribute, "`#[event]` names a struct or a variant, and a field has no event name: move it above the struct or the variant");
        }
        if borrows(field.ty.to_token_stream()) {
            errors.at(&field.ty, OWNED);
        }
        let renamed = serde(&field.attrs, Place::Field, errors).own;
        if let Field { ident: Some(ident), .. } = field
            && !renamed
        {
            let name = ident.unraw().to_string();
            reserved(&rule.map_or_else(|| name.clone(), |rule| rule.of_field(&name)), ident, errors);
        }
    }
}

/// Whether the words of a type have a reference in them.
fn borrows(words: TokenStream) -> bool {
    words.into_iter().any(|word| match word {
        TokenTree::Group(group) => borrows(group.stream()),
        TokenTree::Punct(punct) => punct.as_char() == '&',
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    })
}

/// Refuses a field's name that the envelope uses itself.
fn reserved(name: &str, at: impl ToTokens, errors: &mut Errors) {
    if name == "type" {
        errors.at(at, "a field cannot be called `type` on the wire, because the event's name is there: write another name, for example `kind`");
    } else if name.starts_with("__asgi") {
        errors.at(at, "the name of a field cannot start with `__asgi`, because the channel layer uses such names: write another name");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Type,
    Variant,
    Field,
}

/// What serde's attributes say about the names on the wire.
#[derive(Default)]
struct Names {
    /// Whether the field has a name of its own.
    own: bool,
    /// `rename_all`, for the fields of a struct or a variant.
    all: Option<Rule>,
    /// `rename_all_fields`, for the fields of all variants.
    all_fields: Option<Rule>,
}

/// Refuses serde attributes that an event cannot have, and returns what the others say about names.
fn serde(attributes: &[Attribute], place: Place, errors: &mut Errors) -> Names {
    let mut found = Names::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        // serde reports an attribute that cannot be parsed.
        let _ = attribute.parse_nested_meta(|meta| {
            if let Some(text) = meta.path.get_ident().and_then(|option| refusal(option, place)) {
                errors.at(&meta.path, text);
            }
            let names = values(&meta)?;
            // The rules for writing and for reading may differ. If one of them gives a reserved name, that is enough.
            let rule = || names.iter().map(|name| Rule::new(&name.value())).max();
            if meta.path.is_ident("rename_all") {
                found.all = rule();
            } else if meta.path.is_ident("rename_all_fields") {
                found.all_fields = rule();
            } else if place == Place::Field && meta.path.is_ident("rename") {
                found.own = true;
                for name in names {
                    reserved(&name.value(), name, errors);
                }
            }
            Ok(())
        });
    }
    found
}

fn refusal(option: &Ident, place: Place) -> Option<String> {
    let option = option.to_string();
    let (reason, fix) = match (place, option.as_str()) {
        (Place::Type, "tag" | "content" | "untagged") => ("it writes `type` itself", "remove it"),
        (Place::Type, "transparent" | "from" | "try_from" | "into" | "remote") => {
            ("it is written as a map of its own fields", "remove it, or derive `Event` for the other type")
        }
        (Place::Variant, "untagged" | "other") => ("`type` alone says which variant it is", "remove it"),
        (Place::Variant, "skip" | "skip_serializing" | "skip_deserializing") => {
            ("every variant of an event can be sent", "remove it, or remove the variant")
        }
        (Place::Field, "skip" | "skip_serializing" | "skip_deserializing") => {
            ("every receiver gets the whole event", "remove it, or remove the field")
        }
        (Place::Variant, "with" | "serialize_with" | "deserialize_with") => {
            ("it is written as a map of its own fields", "write it above a field")
        }
        _ => return None,
    };
    let what = match place {
        Place::Type => "an event",
        Place::Variant => "a variant of an event",
        Place::Field => "a field of an event",
    };
    Some(format!("{what} cannot use serde's `{option}`, because {reason}: {fix}"))
}

/// Reads the value of an option, and returns the texts in the value: `= "x"`, `(serialize = "x")`.
fn values(meta: &ParseNestedMeta<'_>) -> syn::Result<Vec<LitStr>> {
    fn value(input: ParseStream<'_>) -> syn::Result<Option<LitStr>> {
        input.parse::<Token![=]>()?;
        if input.peek(LitStr) {
            return input.parse().map(Some);
        }
        input.parse::<syn::Expr>().map(|_| None)
    }

    let mut found = Vec::new();
    if meta.input.peek(Token![=]) {
        found.extend(value(meta.input)?);
    } else if meta.input.peek(syn::token::Paren) {
        meta.parse_nested_meta(|inner| {
            if inner.input.peek(Token![=]) {
                found.extend(value(inner.input)?);
            }
            Ok(())
        })?;
    }
    Ok(found)
}
