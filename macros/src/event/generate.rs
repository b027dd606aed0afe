//! The implementation of `Event`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput};

use super::model::Event;
use crate::{errors::Errors, root::Root};

pub(super) fn event(event: &Event<'_>) -> TokenStream {
    let Event { root, ident, is_enum, .. } = event;
    let names = event.kinds.iter().map(|kind| &kind.name);
    let name = if *is_enum {
        let arms = event.kinds.iter().map(|kind| {
            let (variant, name) = (kind.ident, &kind.name);
            quote!(Self::#variant { .. } => #name)
        });
        quote!(match self { #(#arms),* })
    } else {
        let name = event.kinds.iter().map(|kind| &kind.name);
        quote!(#(#name)*)
    };
    let is_transient = is_transient(event);
    quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl #root::Event for #ident {
            const NAMES: &'static [&'static ::core::primitive::str] = &[#(#names),*];
            const IS_ENUM: ::core::primitive::bool = #is_enum;

            fn name(&self) -> &'static ::core::primitive::str {
                #name
            }

            #is_transient
        }

        #[automatically_derived]
        #[allow(deprecated)]
        impl ::core::convert::From<&#ident> for #root::Envelope {
            fn from(event: &#ident) -> Self {
                #root::__private::envelope_of(event)
            }
        }
    }
}

/// `Event::is_transient`. Nothing if no value of the type is transient.
fn is_transient(event: &Event<'_>) -> TokenStream {
    if event.kinds.iter().all(|kind| !kind.is_transient) {
        return TokenStream::new();
    }
    let is_transient = if event.kinds.iter().all(|kind| kind.is_transient) {
        quote!(true)
    } else {
        let variants = event.kinds.iter().filter(|kind| kind.is_transient).map(|kind| kind.ident);
        quote!(::core::matches!(self, #(Self::#variants { .. })|*))
    };
    quote! {
        fn is_transient(&self) -> ::core::primitive::bool {
            #is_transient
        }
    }
}

/// The errors, and an implementation without names, so that the code that uses the event causes no more errors.
pub(super) fn empty(root: &Root, input: &DeriveInput, errors: &Errors) -> TokenStream {
    let errors = errors.to_compile_errors();
    // serde cannot derive for a union, so a union cannot implement `Event` either.
    if matches!(input.data, Data::Union(_)) {
        return errors;
    }
    let ident = &input.ident;
    let mut generics = input.generics.clone();
    if !generics.params.is_empty() {
        let (_, arguments, _) = input.generics.split_for_impl();
        generics.make_where_clause().predicates.push(syn::parse_quote! {
            #ident #arguments: ::serde::Serialize + for<'de> ::serde::Deserialize<'de>
                + ::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static
        });
    }
    let (parameters, arguments, conditions) = generics.split_for_impl();
    quote! {
        #errors

        #[automatically_derived]
        impl #parameters #root::Event for #ident #arguments #conditions {
            const NAMES: &'static [&'static ::core::primitive::str] = &[];

            fn name(&self) -> &'static ::core::primitive::str {
                ""
            }
        }

        #[automatically_derived]
        impl #parameters ::core::convert::From<&#ident #arguments> for #root::Envelope #conditions {
            fn from(event: &#ident #arguments) -> Self {
                #root::__private::envelope_of(event)
            }
        }
    }
}
