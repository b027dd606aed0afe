//! The attribute `event_handlers`.

mod block;
mod check;
pub(crate) mod generate;
mod model;
mod options;

use proc_macro2::TokenStream;
use quote::quote;

use self::{block::Block, options::Options};
use crate::errors::Errors;

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::parse(arguments, &mut errors);
    let mut block = match Block::parse(item.clone(), &mut errors) {
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
    // In the block of a trait, the methods are not handlers with mistakes, so the error at the trait is enough.
    if let Some(of_trait) = &block.of_trait {
        errors.at(of_trait, check::OF_TRAIT);
        model::take_handlers(&mut block, &mut Errors::default());
        block.items.retain(check::is_hook);
        let errors = errors.to_compile_errors();
        let implementation = generate::mistaken(&options.root, &block);
        return quote!(#block #errors #implementation);
    }
    check::items(&block, &mut errors);
    let handlers = model::take_handlers(&mut block, &mut errors);
    check::contexts(&handlers, &mut errors);
    let implementation = if errors.is_empty() {
        generate::handlers(&options, &block, &handlers)
    } else {
        generate::mistaken(&options.root, &block)
    };
    let errors = errors.to_compile_errors();
    quote!(#block #errors #implementation)
}
