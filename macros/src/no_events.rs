//! The derive `NoEvents`.

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::handlers::generate;

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    match syn::parse2::<DeriveInput>(input) {
        Ok(DeriveInput { ident, generics, .. }) => {
            let (_, arguments, _) = generics.split_for_impl();
            generate::no_handlers(&generics, &syn::parse_quote!(#ident #arguments))
        }
        Err(error) => error.into_compile_error(),
    }
}
