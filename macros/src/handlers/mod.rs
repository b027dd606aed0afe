//! The attribute `event_handlers`.

mod check;
pub(crate) mod generate;
mod model;

use proc_macro2::TokenStream;
use quote::quote;
use syn::ItemImpl;

use crate::errors::Errors;

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    if !arguments.is_empty() {
        errors.at(
            &arguments,
            "`#[event_handlers]` takes no arguments: remove them, and write `#[on(\"chat.message\")]` above the method",
        );
    }
    let mut block: ItemImpl = match syn::parse2(item.clone()) {
        Ok(block) => block,
        Err(error) => {
            let text = "`#[event_handlers]` belongs above an `impl` block: write `#[event_handlers] impl Chat { … }`";
            // If the block cannot be parsed, the error of the parser says why.
            let is_block = item.clone().into_iter().any(|token| token.to_string() == "impl");
            errors.add(if is_block { error } else { syn::Error::new(error.span(), text) });
            let errors = errors.to_compile_errors();
            return quote!(#errors #item);
        }
    };
    check::block(&block, &mut errors);
    // In the block of a trait, the methods are not handlers with mistakes, so the error at the trait is enough.
    let mut ignored = Errors::default();
    let of_methods = if block.trait_.is_some() { &mut ignored } else { &mut errors };
    let handlers = model::take_handlers(&mut block, of_methods);
    if generate::Side::of(&handlers) == generate::Side::Worker {
        check::without_relays(&handlers, &mut errors);
    }
    let implementation =
        if errors.is_empty() { generate::handlers(&block, &handlers) } else { generate::mistaken(&block) };
    let errors = errors.to_compile_errors();
    quote!(#block #errors #implementation)
}
