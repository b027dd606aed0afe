//! What can be wrong with a block and its methods, as far as words show it.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{FnArg, GenericParam, Generics, Ident, ImplItem, ItemImpl, ReturnType, Signature, Type};

use super::model::{Handler, Taken, argument};
use crate::errors::Errors;

/// How a way out ends where the method may be no handler at all.
const HELPERS: &str = "methods that handle no event stand in an `impl` block of their own";

pub(super) fn block(block: &ItemImpl, errors: &mut Errors) {
    if let Some((_, path, _)) = &block.trait_ {
        errors.at(
            path,
            "handlers stand in a block without a trait: write `#[event_handlers] impl Chat { … }` beside it",
        );
    }
    for item in &block.items {
        if !matches!(item, ImplItem::Fn(_) | ImplItem::Const(_)) {
            errors.at(item, "an `#[event_handlers]` block holds handlers only: move this out of it");
        }
    }
}

/// The types of a handler's event and context, where its signature is right.
pub(super) fn handler<'a>(signature: &'a Signature, errors: &mut Errors) -> Option<(&'a Type, &'a Type)> {
    let mut right = common(signature, errors);
    let name = &signature.ident;
    if signature.asyncness.is_none() && (signature.receiver().is_none() || signature.inputs.len() != 3) {
        // Most likely a helper, of which one error is enough.
        let handler =
            format!("async fn {name}(&mut self, event: &ChatMessage, ctx: &mut Context) -> Result<()>");
        errors.at(name, format_args!("this is no handler, which is `{handler}`; {HELPERS}"));
        return None;
    }
    if signature.asyncness.is_none() {
        errors.at(signature.fn_token, format_args!("a handler is async: write `async fn {name}`; {HELPERS}"));
        right = false;
    }
    let mut inputs = signature.inputs.iter();
    match signature.receiver() {
        Some(receiver) => {
            if receiver.reference.is_none() || receiver.mutability.is_none() || receiver.colon_token.is_some()
            {
                errors.at(receiver, "a handler takes the consumer as `&mut self`");
                right = false;
            }
            inputs.next();
        }
        None => {
            let text = format!(
                "a handler takes the consumer first: write `&mut self`, or `#[relay]` above it; {HELPERS}"
            );
            match signature.inputs.first() {
                Some(first) => errors.at(first, text),
                None => errors.at(&signature.ident, text),
            }
            right = false;
        }
    }
    let types: Vec<&Type> = inputs.filter_map(argument).collect();
    let &[event, context] = types.as_slice() else {
        let text = "a handler takes an event and the context: write `(&mut self, event: &ChatMessage, ctx: &mut Context)`";
        arguments(signature, 3, text, errors);
        return None;
    };
    if !matches!(context, Type::Reference(_)) {
        errors.at(context, "a handler takes the context as `&mut Context`");
        right = false;
    }
    if matches!(signature.output, ReturnType::Default) {
        errors.at(&signature.ident, "a handler can fail: write `-> Result<()>` behind its arguments");
        right = false;
    }
    right.then_some((event, context))
}

/// The type of a relay's event, where its signature is right.
pub(super) fn relay<'a>(signature: &'a Signature, errors: &mut Errors) -> Option<&'a Type> {
    const NO_CONSUMER: &str = "a relay runs once for all clients and belongs to no consumer";
    let mut right = common(signature, errors);
    if let Some(asyncness) = &signature.asyncness {
        errors.at(
            asyncness,
            "a relay is not async: remove the word, or remove `#[relay]` to make it a handler",
        );
        right = false;
    }
    if let Some(receiver) = signature.receiver() {
        errors.at(
            receiver,
            format_args!("{NO_CONSUMER}: remove `self`, or remove `#[relay]` to make it a handler"),
        );
        right = false;
    }
    let types: Vec<&Type> = signature.inputs.iter().filter_map(argument).collect();
    let &[event] = types.as_slice() else {
        arguments(signature, 1, &format!("{NO_CONSUMER}: write `(event: &ChatMessage)`"), errors);
        return None;
    };
    if matches!(signature.output, ReturnType::Default) {
        errors.at(
            &signature.ident,
            "a relay makes the bytes that clients get: write `-> Outgoing` behind its arguments",
        );
        right = false;
    }
    right.then_some(event)
}

/// Refuses the relays of a worker's block.
pub(super) fn without_relays(handlers: &[Handler], errors: &mut Errors) {
    for relay in handlers.iter().filter(|handler| handler.is_relay()) {
        let (name, event) = (&relay.method, &relay.event_ident);
        let handler =
            format!("async fn {name}(&mut self, job: &{event}, ctx: &mut WorkerContext) -> Result<()>");
        errors.at(
            name,
            format_args!("a worker has no clients to relay to: make it a handler, `{handler}`, or move it to a consumer"),
        );
    }
}

/// Refuses an event that would be changed: its other receivers have the same.
pub(super) fn shared(argument: &Type, errors: &mut Errors) -> Option<()> {
    if let Type::Reference(reference) = argument
        && let Some(mutability) = &reference.mutability
    {
        errors.at(
            mutability,
            "an event is shared by all who receive it: remove `mut`, or take a copy, as `event: ChatMessage`",
        );
        return None;
    }
    Some(())
}

/// The last word of an event's type, where it can be one.
pub(super) fn event(
    event: &Type,
    relay: bool,
    taken: Taken,
    generics: &Generics,
    errors: &mut Errors,
) -> Option<Ident> {
    if relay && !matches!(taken, Taken::Reference) {
        errors.at(event, "a relay borrows its event: write `event: &ChatMessage`");
        return None;
    }
    let path = match event {
        Type::Path(path) if path.qself.is_none() => &path.path,
        _ => {
            errors.at(event, "a handler takes one event: write its type by name, as `event: &ChatMessage`");
            return None;
        }
    };
    if let Some(parameter) = parameter_in(event.to_token_stream(), generics) {
        let text = if parameter == "Self" {
            "the event's type is needed before the consumer's is known: write its name in place of `Self`"
                .to_owned()
        } else {
            format!("an event cannot depend on the block's parameter `{parameter}`: write a type of its own")
        };
        errors.at(parameter, text);
        return None;
    }
    path.segments.last().map(|last| last.ident.clone())
}

/// What a handler and a relay have in common.
fn common(signature: &Signature, errors: &mut Errors) -> bool {
    if let Some(parameter) = signature.generics.params.first() {
        errors.at(
            parameter,
            "a handler has no generic parameters: it takes one type of event, and `'_` for lifetimes",
        );
        return false;
    }
    if let Some(unsafety) = &signature.unsafety {
        errors.at(unsafety, "a handler is called by the library: remove `unsafe`");
        return false;
    }
    true
}

/// Reports the number of arguments at the first that is too much, or at the method's name.
fn arguments(signature: &Signature, wanted: usize, text: &str, errors: &mut Errors) {
    match signature.inputs.iter().nth(wanted) {
        Some(FnArg::Typed(extra)) => errors.at(extra, text),
        _ => errors.at(&signature.ident, text),
    }
}

/// The first word of a type that is a parameter of the block, or `Self`.
fn parameter_in(tokens: TokenStream, generics: &Generics) -> Option<Ident> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Group(group) => parameter_in(group.stream(), generics),
        TokenTree::Ident(word) => {
            let is_parameter = generics.params.iter().any(|parameter| match parameter {
                GenericParam::Type(parameter) => parameter.ident == word,
                GenericParam::Const(parameter) => parameter.ident == word,
                GenericParam::Lifetime(parameter) => parameter.lifetime.ident == word,
            });
            (word == "Self" || is_parameter).then_some(word)
        }
        TokenTree::Literal(_) | TokenTree::Punct(_) => None,
    })
}
