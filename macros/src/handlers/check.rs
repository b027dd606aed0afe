//! The mistakes in a block and its methods that the words alone show.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{FnArg, GenericParam, Generics, Ident, ReturnType, Signature, Type};

use super::{
    block::{Block, Item},
    generate::Side,
    model::{Handler, Taken, argument, last_word, peel},
};
use crate::{errors::Errors, types::not_an_event};

/// The end of an error at a method that may be a helper.
const HELPERS: &str = "or move the method to another `impl` block if it handles no event";

pub(super) const OF_TRAIT: &str = "handlers cannot be in the `impl` block of a trait: write a second block, `#[event_handlers] impl Chat { … }`";

/// Whether a trait of the library may have the item. The trait is not known, so this goes by the names of the methods.
pub(super) fn is_hook(item: &Item) -> bool {
    match item {
        Item::Method(method) => HOOKS.iter().any(|hook| method.signature.ident == hook),
        Item::Other(_) | Item::Stranger(_) => true,
    }
}

/// The methods of the traits of consumers.
const HOOKS: [&str; 8] =
    ["connect", "disconnect", "groups", "handle", "invalid", "receive", "receive_json", "request"];

/// Refuses items that are neither methods nor constants.
pub(super) fn items(block: &Block, errors: &mut Errors) {
    for item in &block.items {
        if let Item::Stranger(item) = item {
            errors.at(item, "an `#[event_handlers]` block can contain only handlers and constants: move this out of the block");
        }
    }
}

/// Refuses a handler whose context is not that of the first.
///
/// A `#[cfg]` that removes the first handler would otherwise decide which context the other handlers may have.
pub(super) fn contexts(handlers: &[Handler], errors: &mut Errors) {
    let side = Side::of(handlers);
    for handler in handlers {
        let Some(context) = &handler.context else { continue };
        let its = Side::of_context(context);
        if its != side {
            errors.at(context, format_args!("all handlers of a block take the same context, and this is not the `{}` of the first: write the same, or move the handler to the block of another type", side.word()));
        }
    }
    if side == Side::Worker {
        without_relays(handlers, errors);
    }
}

/// The types of a handler's event and context, if its signature is right.
pub(super) fn handler<'a>(signature: &'a Signature, errors: &mut Errors) -> Option<(&'a Type, &'a Type)> {
    let mut right = common(signature, errors);
    let name = &signature.ident;
    if signature.asyncness.is_none() && (signature.receiver().is_none() || signature.inputs.len() != 3) {
        // This is most likely a relay without its attribute or a helper, so one error is enough.
        let text = if signature.receiver().is_none() && signature.inputs.len() == 1 {
            format!("this method is neither a handler nor a relay: write `#[relay]` above it, {HELPERS}")
        } else {
            let handler =
                format!("async fn {name}(&mut self, event: &ChatMessage, ctx: &mut Context) -> Result<()>");
            format!("this method is not a handler: write `{handler}`, {HELPERS}")
        };
        errors.at(name, text);
        return None;
    }
    if signature.asyncness.is_none() {
        errors.at(
            signature.fn_token,
            format_args!("a handler must be async: write `async fn {name}`, {HELPERS}"),
        );
        right = false;
    }
    let mut inputs = signature.inputs.iter();
    match signature.receiver() {
        Some(receiver) => {
            if receiver.reference.is_none() || receiver.mutability.is_none() || receiver.colon_token.is_some()
            {
                errors.at(receiver, "a handler borrows its consumer: write `&mut self`");
                right = false;
            }
            inputs.next();
        }
        None => {
            let text =
                format!("a handler needs its consumer: write `&mut self` as the first argument, {HELPERS}");
            match signature.inputs.first() {
                Some(first) => errors.at(first, text),
                None => errors.at(&signature.ident, text),
            }
            right = false;
        }
    }
    let types: Vec<&Type> = inputs.filter_map(argument).collect();
    let &[event, context] = types.as_slice() else {
        let text = "a handler takes one event and the context: write `(&mut self, event: &ChatMessage, ctx: &mut Context)`";
        arguments(signature, 3, text, errors);
        return None;
    };
    if is_context(event) && !is_context(context) {
        let word = |of| last_word(of).map_or_else(|| "ChatMessage".to_owned(), Ident::to_string);
        let (event, name) = (word(context), word(event));
        errors.at(
            types[0],
            format_args!("the event comes first, then the context: write `(&mut self, event: &{event}, ctx: &mut {name})`"),
        );
        return None;
    }
    if !matches!(peel(context), Type::Reference(_)) {
        let name = match last_word(context) {
            Some(word) if word == "HttpContext" || word == "WorkerContext" => word.to_string(),
            _ => "Context".to_owned(),
        };
        errors.at(context, format_args!("a handler borrows its context: write `&mut {name}`"));
        right = false;
    }
    if matches!(signature.output, ReturnType::Default) {
        errors
            .at(&signature.ident, "a handler returns a `Result`: write `-> Result<()>` after its arguments");
        right = false;
    }
    right.then_some((event, context))
}

/// Whether a type has the name of a context.
fn is_context(of: &Type) -> bool {
    last_word(of).is_some_and(|word| word == "Context" || word == "HttpContext" || word == "WorkerContext")
}

/// The type of a relay's event, if its signature is right.
pub(super) fn relay<'a>(signature: &'a Signature, errors: &mut Errors) -> Option<&'a Type> {
    let mut right = common(signature, errors);
    if let Some(asyncness) = &signature.asyncness {
        errors.at(
            asyncness,
            "a relay cannot be async: remove `async`, or remove `#[relay]` to make the method a handler",
        );
        right = false;
    }
    if let Some(receiver) = signature.receiver() {
        errors.at(
            receiver,
            "a relay has no consumer, because it runs once for all clients: remove this argument, or remove `#[relay]` to make the method a handler",
        );
        right = false;
    }
    let types: Vec<&Type> = signature.inputs.iter().filter_map(argument).collect();
    let &[event] = types.as_slice() else {
        let text = "a relay takes only the event, because it runs once for all clients: write `(event: &ChatMessage)`";
        arguments(signature, 1, text, errors);
        return None;
    };
    if matches!(signature.output, ReturnType::Default) {
        errors.at(
            &signature.ident,
            "a relay returns the message for its clients: write `-> Outgoing` after its arguments",
        );
        right = false;
    }
    right.then_some(event)
}

/// Refuses relays in the block of a worker's consumer.
fn without_relays(handlers: &[Handler], errors: &mut Errors) {
    for relay in handlers.iter().filter(|handler| handler.is_relay()) {
        let (name, event) = (&relay.method, &relay.event_ident);
        let handler =
            format!("async fn {name}(&mut self, job: &{event}, ctx: &mut WorkerContext) -> Result<()>");
        errors.at(
            name,
            format_args!("a worker has no clients, so it cannot relay to them: write `{handler}`, or move the relay to a consumer that has clients"),
        );
    }
}

/// Refuses `&mut E`: all receivers share the event, so a handler must not change it.
pub(super) fn shared(argument: &Type, relay: bool, errors: &mut Errors) -> Option<()> {
    if let Type::Reference(reference) = peel(argument)
        && let Some(mutability) = &reference.mutability
    {
        let copy = match last_word(argument) {
            Some(event) if !relay => format!(", or write `event: {event}` to get a copy"),
            _ => String::new(),
        };
        errors.at(
            mutability,
            format_args!("all receivers share the event, so it cannot be changed: remove `mut`{copy}"),
        );
        return None;
    }
    Some(())
}

/// The last word of an event's type, if the type can be an event.
pub(super) fn event(
    event: &Type,
    relay: bool,
    taken: Taken,
    generics: &Generics,
    errors: &mut Errors,
) -> Option<Ident> {
    if relay && !matches!(taken, Taken::Reference) {
        let name = last_word(event).map_or_else(|| "ChatMessage".to_owned(), Ident::to_string);
        errors.at(event, format_args!("a relay borrows its event: write `event: &{name}`"));
        return None;
    }
    let path = match event {
        Type::Path(path) if path.qself.is_none() && not_an_event(event).is_none() => &path.path,
        _ => {
            let text = not_an_event(event).map_or_else(
                || "a handler takes one type of event".to_owned(),
                |what| format!("{what} is not an event"),
            );
            errors.at(
                event,
                format_args!(
                    "{text}: write the name of an event's type, for example `event: &ChatMessage`, {HELPERS}"
                ),
            );
            return None;
        }
    };
    if let Some(parameter) = parameter_in(event.to_token_stream(), generics) {
        let text = if parameter == "Self" {
            "an event's type cannot be written as `Self`: write the name of the type".to_owned()
        } else {
            format!(
                "an event's type cannot use `{parameter}`, a parameter of the block: write a type without parameters"
            )
        };
        errors.at(parameter, text);
        return None;
    }
    path.segments.last().map(|last| last.ident.clone())
}

/// The checks that a handler and a relay share. Returns whether the signature passed.
fn common(signature: &Signature, errors: &mut Errors) -> bool {
    if let Some(parameter) = signature.generics.params.first() {
        errors.at(
            parameter,
            "a handler cannot have generic parameters: remove them, and write the event's type by name and each lifetime as `'_`",
        );
        return false;
    }
    if let Some(unsafety) = &signature.unsafety {
        errors.at(unsafety, "a handler cannot be unsafe, because the library calls it: remove `unsafe`");
        return false;
    }
    true
}

/// Reports a wrong number of arguments, at the first argument too many or at the method's name.
fn arguments(signature: &Signature, wanted: usize, text: &str, errors: &mut Errors) {
    match signature.inputs.iter().nth(wanted) {
        Some(FnArg::Typed(extra)) => errors.at(extra, text),
        _ => errors.at(&signature.ident, text),
    }
}

/// The first word of a type that is `Self` or a parameter of the block.
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
