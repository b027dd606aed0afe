//! The attributes `on` and `relay` outside of an `event_handlers` block, which takes them away from its methods.

use proc_macro2::{Span, TokenStream};
use quote::quote;

/// An error that says where the attribute belongs. The item stays, so that its uses cause no more errors.
pub(crate) fn misplaced(attribute: &str, item: TokenStream) -> TokenStream {
    let text = format!(
        "`#[{attribute}]` belongs above a method in an `impl` block with `#[event_handlers]`: write `#[event_handlers]` above the block"
    );
    let error = syn::Error::new(Span::call_site(), text).into_compile_error();
    quote!(#item #error)
}
