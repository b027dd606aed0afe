//! The derive `EventHandlers`, which passes events on to the handlers of fields.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Data, DeriveInput, Index, Member, Type};

use crate::{errors::Errors, event::model::root_of, handlers::generate};

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let root = root_of(&input.attrs, &mut errors);
    let fields = fields(&input, &mut errors);
    let DeriveInput { ident, generics, .. } = &input;
    let (_, arguments, _) = generics.split_for_impl();
    let consumer = syn::parse_quote!(#ident #arguments);
    if !errors.is_empty() {
        let errors = errors.to_compile_errors();
        let implementation = generate::unknown(&root, generics, &consumer);
        return quote!(#errors #implementation);
    }
    let mut bounds = generics.clone();
    let conditions = &mut bounds.make_where_clause().predicates;
    let handlers = quote!(#root::EventHandlers<__Context>);
    conditions
        .extend(fields.iter().map(|(_, of)| -> syn::WherePredicate { syn::parse_quote!(#of: #handlers) }));
    let types = fields.iter().map(|(_, of)| of);
    let first_to_relay = fields.iter().map(|(_, of)| of);
    let calls = fields.iter().map(|(field, of)| {
        quote! {
            if let #root::Handled::Yes =
                <#of as #handlers>::handle_event(&mut self.#field, __envelope, __context).await?
            {
                return ::core::result::Result::Ok(#root::Handled::Yes);
            }
        }
    });
    let body = quote! {
        fn events() -> ::std::vec::Vec<&'static ::core::primitive::str> {
            let mut __events = ::std::vec::Vec::new();
            #(__events.extend(<#types as #handlers>::events());)*
            __events
        }

        async fn handle_event(
            &mut self,
            __envelope: &#root::Envelope,
            __context: &mut __Context,
        ) -> #root::Result<#root::Handled> {
            #(#calls)*
            ::core::result::Result::Ok(#root::Handled::Unknown)
        }

        fn relay(
            __envelope: &#root::Envelope,
        ) -> ::core::option::Option<#root::Result<#root::Outgoing>> {
            ::core::option::Option::None
                #(.or_else(|| <#first_to_relay as #handlers>::relay(__envelope)))*
        }
    };
    generate::for_every_context(&root, &bounds, &consumer, &body)
}

/// The fields with `#[handlers]`.
fn fields<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Vec<(Member, &'a Type)> {
    let Data::Struct(data) = &input.data else {
        errors.at(
            &input.ident,
            "`#[derive(EventHandlers)]` passes events on to fields: write it above a struct",
        );
        return Vec::new();
    };
    let mut found = Vec::new();
    for (at, field) in data.fields.iter().enumerate() {
        let mut marks = field.attrs.iter().filter(|attribute| attribute.path().is_ident("handlers"));
        let Some(mark) = marks.next() else { continue };
        if mark.meta.require_path_only().is_err() {
            errors.at(mark.meta.to_token_stream(), "`#[handlers]` takes no arguments: write `#[handlers]`");
        }
        for again in marks {
            errors.at(again, "one `#[handlers]` is enough: remove this one");
        }
        let name = field.ident.clone().map_or_else(|| Member::Unnamed(Index::from(at)), Member::Named);
        found.push((name, &field.ty));
    }
    if found.is_empty() && errors.is_empty() {
        errors.at(&input.ident, "no field says that it has handlers: write `#[handlers]` above a field whose type has an `#[event_handlers]` block");
    }
    found
}
