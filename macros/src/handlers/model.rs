//! The model of a handler, read from its method.

use quote::ToTokens;
use syn::{
    Attribute, FnArg, GenericArgument, Ident, LitStr, Meta, PathArguments, ReturnType, Token, Type,
    ext::IdentExt, parse::ParseStream, parse_quote,
};

use super::{
    block::{Block, Method},
    check,
};
use crate::errors::{Errors, arguments_of};

/// A method that handles an event.
pub(super) struct Handler {
    pub(super) method: Ident,
    /// The name in `#[on("xx.oo")]`.
    pub(super) on: Option<LitStr>,
    /// The event's type, without the `&` or `Arc<…>` around it.
    pub(super) event: Type,
    /// The type's last word, for errors and for the name of a method that takes all events of an enum.
    pub(super) event_ident: Ident,
    pub(super) taken: Taken,
    /// The context's type. A relay has no context. If the type is wrong, the error points at it.
    pub(super) context: Option<Type>,
    pub(super) output: Type,
    /// The method's `#[cfg]`s. If they remove the method, they also remove the code that is generated for it.
    pub(super) cfgs: Vec<Attribute>,
}

/// How a handler takes its event.
#[derive(Clone, Copy)]
pub(super) enum Taken {
    Reference,
    Shared,
    Value,
}

impl Handler {
    pub(super) fn is_relay(&self) -> bool {
        self.context.is_none()
    }

    /// The method's name without a leading `r#`.
    pub(super) fn method_text(&self) -> String {
        self.method.unraw().to_string()
    }
}

/// Reads the handlers of a block, and removes the macro's own attributes from it.
pub(super) fn take_handlers(block: &mut Block, errors: &mut Errors) -> Vec<Handler> {
    let generics = block.generics.clone();
    block.methods_mut().filter_map(|method| take_handler(method, &generics, errors)).collect()
}

fn take_handler(method: &mut Method, generics: &syn::Generics, errors: &mut Errors) -> Option<Handler> {
    let (mut on, mut relay, mut cfgs) = (None, None, Vec::new());
    method.attributes.retain(|attribute| {
        if attribute.path().is_ident("on") {
            match attribute.parse_args::<LitStr>() {
                Ok(_) if on.is_some() => errors.at(attribute, "a method can have only one `#[on]`: remove one of the two"),
                Ok(name) => on = Some(name),
                Err(_) => errors.at(arguments_of(attribute), "write one name, in parentheses and quotes: `#[on(\"chat.message\")]`"),
            }
            false
        } else if attribute.path().is_ident("relay") {
            if attribute.meta.require_path_only().is_err() {
                errors.at(
                    arguments_of(attribute),
                    "`#[relay]` takes no arguments: write `#[relay]`, and the event's name as `#[on(\"chat.message\")]`",
                );
            } else if relay.is_some() {
                errors.at(attribute, "one `#[relay]` is enough: remove this one");
            }
            relay = Some(());
            false
        } else {
            if attribute.path().is_ident("cfg") {
                cfgs.push(attribute.clone());
            } else if attribute.path().is_ident("cfg_attr") {
                return conditional(attribute, &mut cfgs, errors);
            }
            true
        }
    });
    // The library fixes the signature, so a handler that does not need all of it deserves no warning.
    method.attributes.push(parse_quote! {
        #[allow(
            clippy::needless_pass_by_ref_mut,
            clippy::needless_pass_by_value,
            clippy::trivially_copy_pass_by_ref,
            clippy::unnecessary_wraps,
            clippy::unused_async,
            clippy::unused_self
        )]
    });
    let signature = &method.signature;
    let (event, context) = match relay {
        Some(()) => (check::relay(signature, errors)?, None),
        None => check::handler(signature, errors).map(|(event, context)| (event, Some(context)))?,
    };
    check::shared(event, relay.is_some(), errors)?;
    let (event, taken) = unwrap(event);
    let event_ident = check::event(event, relay.is_some(), taken, generics, errors)?;
    let ReturnType::Type(_, output) = &signature.output else { return None };
    Some(Handler {
        method: signature.ident.clone(),
        on,
        event: event.clone(),
        event_ident,
        taken,
        context: context.cloned(),
        output: Type::clone(output),
        cfgs,
    })
}

/// Adds the `#[cfg]`s that a `#[cfg_attr]` can write, and returns whether the attribute is right.
///
/// It cannot write the macro's own attributes, because the macro is called before the compiler has decided.
fn conditional(attribute: &Attribute, cfgs: &mut Vec<Attribute>, errors: &mut Errors) -> bool {
    let mut right = true;
    // The compiler reports a `cfg_attr` that cannot be parsed.
    let _ = attribute.parse_args_with(|input: ParseStream<'_>| {
        let condition: Meta = input.parse()?;
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let meta: Meta = input.parse()?;
            let path = meta.path();
            if path.is_ident("on") || path.is_ident("relay") {
                let name = path.to_token_stream();
                right = false;
                errors.at(&meta, format_args!("`#[{name}]` cannot depend on a condition: write two methods, each under its own `#[cfg]`, one of them with `#[{name}]`"));
            } else if path.is_ident("cfg") {
                let list = meta.require_list()?;
                let then = &list.tokens;
                cfgs.push(parse_quote!(#[cfg(any(not(#condition), #then))]));
            }
        }
        Ok(())
    });
    right
}

/// The type of an argument that is not `self`.
pub(super) fn argument(argument: &FnArg) -> Option<&Type> {
    match argument {
        FnArg::Receiver(_) => None,
        FnArg::Typed(argument) => Some(&argument.ty),
    }
}

/// The type without the invisible groups and the parentheses around it. A `macro_rules!` puts a group around each `$t:ty`.
pub(super) fn peel(of: &Type) -> &Type {
    match of {
        Type::Group(group) => peel(&group.elem),
        Type::Paren(paren) => peel(&paren.elem),
        _ => of,
    }
}

/// The last word of a type: `HttpContext` for `&mut greenroom::HttpContext`.
pub(super) fn last_word(of: &Type) -> Option<&Ident> {
    match peel(of) {
        Type::Reference(reference) => last_word(&reference.elem),
        Type::Path(path) => path.path.segments.last().map(|last| &last.ident),
        _ => None,
    }
}

/// Takes the event out of `&E` and `Arc<E>`. A macro sees only words, so it does not know an alias of `Arc`.
fn unwrap(argument: &Type) -> (&Type, Taken) {
    match peel(argument) {
        Type::Reference(reference) => (peel(&reference.elem), Taken::Reference),
        Type::Path(path) => {
            if let Some(last) = path.path.segments.last()
                && last.ident == "Arc"
                && let PathArguments::AngleBracketed(arguments) = &last.arguments
                && let Some(GenericArgument::Type(event)) = arguments.args.first()
            {
                return (peel(event), Taken::Shared);
            }
            (peel(argument), Taken::Value)
        }
        other => (other, Taken::Value),
    }
}
