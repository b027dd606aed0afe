//! The derive `NoEvents`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use crate::{errors::Errors, event::model::root_of, handlers::generate};

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    match syn::parse2::<DeriveInput>(input) {
        Ok(DeriveInput { attrs, ident, generics, .. }) => {
            let mut errors = Errors::default();
            let root = root_of(&attrs, &mut errors);
            let (_, arguments, _) = generics.split_for_impl();
            let implementation =
                generate::no_handlers(&root, &generics, &syn::parse_quote!(#ident #arguments));
            let errors = errors.to_compile_errors();
            quote!(#errors #implementation)
        }
        Err(error) => error.into_compile_error(),
    }
}
