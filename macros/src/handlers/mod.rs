//! `#[event_handlers]`.

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
            "`#[event_handlers]` takes no arguments: a name stands in `#[on(\"xx.oo\")]` above a method",
        );
    }
    let mut block: ItemImpl = match syn::parse2(item.clone()) {
        Ok(block) => block,
        Err(error) => {
            let text =
                "`#[event_handlers]` stands above an `impl` block: `#[event_handlers] impl Chat { … }`";
            // A block that does not parse says itself what is wrong with it.
            let is_block = item.clone().into_iter().any(|token| token.to_string() == "impl");
            errors.add(if is_block { error } else { syn::Error::new(error.span(), text) });
            let errors = errors.to_compile_errors();
            return quote!(#errors #item);
        }
    };
    check::block(&block, &mut errors);
    let handlers = model::take_handlers(&mut block, &mut errors);
    if generate::Side::of(&handlers) == generate::Side::Worker {
        check::without_relays(&handlers, &mut errors);
    }
    let implementation =
        if errors.is_empty() { generate::handlers(&block, &handlers) } else { generate::mistaken(&block) };
    let errors = errors.to_compile_errors();
    quote!(#block #errors #implementation)
}
