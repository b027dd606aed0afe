//! What an event may not be. Each rule keeps the wire form a map with the event's own fields beside `type`.

use quote::ToTokens;
use syn::{
    Attribute, Data, DeriveInput, Field, Fields, Ident, LitStr, Token, ext::IdentExt, meta::ParseNestedMeta,
    parse::ParseStream,
};

use super::model::{Event, Kind};
use crate::{errors::Errors, names};

pub(super) fn check(input: &DeriveInput, event: &Event<'_>, errors: &mut Errors) {
    check_names(event, errors);
    if let Some(parameter) = input.generics.params.first() {
        errors.at(parameter, "an event has no generic parameters: derive `Event` for each type that is sent");
    }
    serde(&input.attrs, Place::Type, errors);
    match &input.data {
        Data::Struct(data) => {
            if let Fields::Unnamed(fields) = &data.fields {
                errors
                    .at(fields, "an event has named fields: write `{ text: String }` in place of `(String)`");
            }
            check_fields(&data.fields, errors);
        }
        Data::Enum(data) => {
            if data.variants.is_empty() {
                errors.at(&input.ident, "an enum without variants has no events: add a variant");
            }
            for variant in &data.variants {
                serde(&variant.attrs, Place::Variant, errors);
                if let Fields::Unnamed(fields) = &variant.fields
                    && fields.unnamed.len() != 1
                {
                    errors
                        .at(fields, "an event has named fields: write `{ … }`, or one struct that has them");
                }
                check_fields(&variant.fields, errors);
            }
        }
        Data::Union(data) => {
            errors.at(data.union_token, "a union cannot be an event: use a struct or an enum")
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
                    format_args!("this would be the event {:?}, and a name {mistake}: write `#[event(\"xx.oo\")]` above it", kind.name),
                ),
            }
        } else if let Some(first) = event.kinds[..at].iter().find(|other| other.name == kind.name) {
            let text =
                format!("`{}` is the event {:?} already: give this one another name", first.ident, kind.name);
            place(kind, errors, &text);
        }
    }
}

fn place(kind: &Kind<'_>, errors: &mut Errors, text: &str) {
    match &kind.written {
        Some(name) => errors.at(name, text),
        None => errors.at(kind.ident, text),
    }
}

fn check_fields(fields: &Fields, errors: &mut Errors) {
    for field in fields {
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
            errors.at(attribute, "`#[event]` names the struct or the variant, not a field: move it there");
        }
        let renamed = serde(&field.attrs, Place::Field, errors);
        if let Field { ident: Some(ident), .. } = field
            && !renamed
        {
            reserved(&ident.unraw().to_string(), ident, errors);
        }
    }
}

/// Refuses a field's name that the envelope has itself.
fn reserved(name: &str, at: impl ToTokens, errors: &mut Errors) {
    if name == "type" {
        errors.at(at, "`type` is the event's name on the wire: call the field otherwise, as `kind`");
    } else if name.starts_with("__asgi") {
        errors.at(at, "what starts with `__asgi` belongs to the channel layer: call the field otherwise");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Type,
    Variant,
    Field,
}

/// Refuses serde attributes; whether one renames a field.
fn serde(attributes: &[Attribute], place: Place, errors: &mut Errors) -> bool {
    let mut renamed = false;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        // What does not parse here is serde's to report.
        let _ = attribute.parse_nested_meta(|meta| {
            if let Some(text) = meta.path.get_ident().and_then(|option| refusal(option, place)) {
                errors.at(&meta.path, text);
            }
            let names = values(&meta)?;
            if place == Place::Field && meta.path.is_ident("rename") {
                renamed = true;
                for name in names {
                    reserved(&name.value(), name, errors);
                }
            }
            Ok(())
        });
    }
    renamed
}

fn refusal(option: &Ident, place: Place) -> Option<String> {
    let option = option.to_string();
    let fix = match (place, option.as_str()) {
        (Place::Type, "tag" | "content" | "untagged") => "`type` is written by the event itself: remove it",
        (Place::Type, "transparent" | "from" | "try_from" | "into" | "remote") => {
            "an event is written as a map of its own fields: remove it, or derive `Event` for the other type"
        }
        (Place::Variant, "untagged" | "other") => "the `type` alone says which variant it is: remove it",
        (Place::Variant | Place::Field, "skip" | "skip_serializing" | "skip_deserializing") => {
            "every receiver gets the whole event: remove it, or move what stays here out of the event"
        }
        (Place::Variant, "with" | "serialize_with" | "deserialize_with") => {
            "a variant is written as a map of its own fields: put it on a field"
        }
        _ => return None,
    };
    Some(format!("`{option}` does not work on an event: {fix}"))
}

/// Reads over what follows an option, and gives back the texts in it: `= "x"`, `(serialize = "x")`.
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
