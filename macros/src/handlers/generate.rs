//! The implementation of `EventHandlers`.
//!
//! The code is in a `const _` block, so that its helpers have no names outside. It uses full paths, because the
//! user's module may have another `Result` or `Ok`.

use proc_macro2::{Literal, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Generics, Ident, ItemImpl, Type, spanned::Spanned};

use super::model::{Handler, Taken, last_word};
use crate::names;

/// The implementation for a consumer without events.
pub(crate) fn no_handlers(generics: &Generics, consumer: &Type) -> TokenStream {
    empty(generics, consumer, &Side::Clients)
}

/// The implementation for a block with mistakes. It is empty, so that only the mistakes are reported.
pub(super) fn mistaken(block: &ItemImpl) -> TokenStream {
    empty(&block.generics, &block.self_ty, &Side::Any)
}

fn empty(generics: &Generics, consumer: &Type, side: &Side) -> TokenStream {
    let body = quote! {
        const EVENTS: &'static [&'static ::core::primitive::str] = &[];

        async fn handle_event(
            &mut self,
            _: &::greenroom::Envelope,
            _: &mut __Context,
        ) -> ::greenroom::Result<::greenroom::Handled> {
            ::core::result::Result::Ok(::greenroom::Handled::Unknown)
        }

        fn relay(
            _: &::greenroom::Envelope,
        ) -> ::core::option::Option<::greenroom::Result<::greenroom::Outgoing>> {
            ::core::option::Option::None
        }
    };
    implementation(generics, consumer, side, &body)
}

pub(super) fn handlers(block: &ItemImpl, handlers: &[Handler]) -> TokenStream {
    if handlers.is_empty() {
        return no_handlers(&block.generics, &block.self_ty);
    }
    let side = Side::of(handlers);
    let parts: Vec<Part<'_>> =
        handlers.iter().enumerate().map(|(at, handler)| Part::new(at, handler)).collect();
    let consts = parts.iter().map(Part::consts);
    let checks = parts.iter().enumerate().map(|(at, part)| part.checks(&parts[..at]));
    let patterns = parts.iter().map(Part::pattern);
    let all: Vec<TokenStream> = parts.iter().map(Part::element).collect();
    let context = side.context();
    let calls = parts.iter().map(|part| part.call(&context));
    let relays = parts.iter().filter(|part| part.handler.is_relay()).map(Part::relay);
    let body = quote! {
        const EVENTS: &'static [&'static ::core::primitive::str] =
            &::greenroom::__private::concat::<{ ::greenroom::__private::count(&[#(#all),*]) }>(&[#(#all),*]);

        async fn handle_event(
            &mut self,
            __envelope: &::greenroom::Envelope,
            __context: &mut #context,
        ) -> ::greenroom::Result<::greenroom::Handled> {
            let __done = match __handler_of(::greenroom::Envelope::name(__envelope)) {
                #(#calls)*
                _ => ::greenroom::Handled::Unknown,
            };
            ::core::result::Result::Ok(__done)
        }

        fn relay(
            __envelope: &::greenroom::Envelope,
        ) -> ::core::option::Option<::greenroom::Result<::greenroom::Outgoing>> {
            match __handler_of(::greenroom::Envelope::name(__envelope)) {
                #(#relays)*
                _ => ::core::option::Option::None,
            }
        }
    };
    let implementation = implementation(&block.generics, &block.self_ty, &side, &body);
    quote! {
        const _: () = {
            #(#consts)*
            #(#checks)*

            #[allow(unreachable_patterns)]
            fn __handler_of(__name: &::core::primitive::str) -> ::core::primitive::usize {
                match __name {
                    #(#patterns)*
                    _ => ::core::primitive::usize::MAX,
                }
            }

            #implementation
        };
    }
}

/// The kind of consumer that the handlers belong to. Their context says which.
#[derive(PartialEq)]
pub(super) enum Side {
    /// Every kind.
    Any,
    /// A WebSocket or an HTTP exchange: all handlers are relays, which take no context.
    Clients,
    Http,
    WebSocket,
    Worker,
}

impl Side {
    /// Decides by the last word of the first context's type, because a macro sees only words.
    pub(super) fn of(handlers: &[Handler]) -> Self {
        let mut contexts = handlers.iter().filter_map(|handler| handler.context.as_ref());
        match contexts.next() {
            None => Self::Clients,
            Some(context) => match last_word(context) {
                Some(word) if word == "HttpContext" => Self::Http,
                Some(word) if word == "WorkerContext" => Self::Worker,
                _ => Self::WebSocket,
            },
        }
    }

    fn context(&self) -> TokenStream {
        match self {
            Self::Any | Self::Clients => quote!(__Context),
            Self::Http => quote!(::greenroom::HttpContext),
            Self::WebSocket => quote!(::greenroom::Context),
            Self::Worker => quote!(::greenroom::WorkerContext),
        }
    }
}

fn implementation(generics: &Generics, consumer: &Type, side: &Side, body: &TokenStream) -> TokenStream {
    let mut generics = generics.clone();
    if !generics.params.is_empty() {
        generics.make_where_clause().predicates.push(syn::parse_quote!(Self: 'static));
    }
    match side {
        Side::Any => {
            generics.params.push(syn::parse_quote!(__Context: ::greenroom::consumer::EventContext));
        }
        Side::Clients => {
            generics.params.push(syn::parse_quote!(__Context: ::greenroom::consumer::ClientContext));
        }
        Side::Http | Side::WebSocket | Side::Worker => {}
    }
    let context = side.context();
    let (parameters, _, conditions) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        #[allow(unused_variables, clippy::match_single_binding)]
        impl #parameters ::greenroom::EventHandlers<#context> for #consumer #conditions {
            #body
        }
    }
}

/// The place of a word, for errors. Names at this place are those of the generated code, even if another macro wrote
/// the word.
fn at(span: Span) -> Span {
    span.resolved_at(Span::call_site())
}

/// A handler, and the names of the constants that are generated for it.
struct Part<'a> {
    handler: &'a Handler,
    /// Its number among the handlers. An event's name is looked up to this number, and the number chooses the call.
    index: Literal,
    /// The constant with the names and the reader of its event's type.
    event_type: Ident,
    /// The constant that describes the method.
    about: Ident,
    /// The constant with the first name that it handles, for a pattern.
    name: Ident,
}

impl<'a> Part<'a> {
    fn new(at: usize, handler: &'a Handler) -> Self {
        Self {
            handler,
            index: Literal::usize_suffixed(at),
            event_type: format_ident!("__EVENT_{at}"),
            about: format_ident!("__HANDLER_{at}"),
            name: format_ident!("__NAME_{at}"),
        }
    }

    /// Whether the method may take all events of an enum. The words alone cannot tell: a struct's default name gives
    /// the same method name.
    fn may_take_all(&self) -> bool {
        self.handler.on.is_none() && self.handler.method_text() == names::snake(&self.handler.event_ident)
    }

    fn consts(&self) -> TokenStream {
        let Self { handler: Handler { cfgs, event, event_ident, on, .. }, event_type, about, name, .. } =
            self;
        let method = self.handler.method_text();
        let (event_text, snake) = (event_ident.to_string(), names::snake(event_ident));
        let on = match on {
            Some(on) => quote!(::core::option::Option::Some(#on)),
            None => quote!(::core::option::Option::None),
        };
        quote! {
            #(#cfgs)*
            const #event_type: ::greenroom::__private::EventType<#event> =
                ::greenroom::__private::event_type::<#event>();
            #(#cfgs)*
            const #about: ::greenroom::__private::Handler = ::greenroom::__private::Handler {
                method: #method,
                on: #on,
                event: #event_text,
                snake: #snake,
                names: #event_type.names,
            };
            #(#cfgs)*
            const #name: &::core::primitive::str = ::greenroom::__private::first(#about.handled());
        }
    }

    /// The assertions. They are not part of the other constants, because an error in those would be repeated as a note
    /// at each use.
    fn checks(&self, earlier: &[Self]) -> TokenStream {
        let Self { handler: Handler { cfgs, method, on, .. }, about, .. } = self;
        let span = at(on.as_ref().map_or_else(|| method.span(), Spanned::span));
        // The compiler reports an error at the first word of the call, so the constant's name gets that place too.
        let about = Ident::new(&about.to_string(), span);
        let check = quote_spanned!(span=> #about.check());
        let earlier = earlier.iter().map(Self::element);
        let check_first = quote_spanned!(span=> #about.check_first(&[#(#earlier),*]));
        quote! {
            #(#cfgs)*
            const _: () = #check;
            #(#cfgs)*
            const _: () = #check_first;
        }
    }

    /// Its element in a list of handlers.
    fn element(&self) -> TokenStream {
        let Self { handler: Handler { cfgs, .. }, about, .. } = self;
        quote!(#(#cfgs)* #about)
    }

    fn pattern(&self) -> TokenStream {
        let Self { handler: Handler { cfgs, .. }, about, name, index, .. } = self;
        let others = self.may_take_all().then(|| {
            quote! {
                #(#cfgs)*
                _ if <[&::core::primitive::str]>::contains(#about.handled(), &__name) => #index,
            }
        });
        quote! {
            #(#cfgs)*
            #name => #index,
            #others
        }
    }

    fn call(&self, side: &TokenStream) -> TokenStream {
        let Self {
            handler: Handler { cfgs, method, event, output, taken, context, .. },
            index,
            event_type,
            ..
        } = self;
        let Some(context) = context else {
            return quote! {
                #(#cfgs)*
                #index => {
                    if let ::core::option::Option::Some(__outgoing) =
                        <Self as ::greenroom::EventHandlers<#side>>::relay(__envelope)
                    {
                        ::greenroom::consumer::ClientContext::pass_on(__context, __outgoing?)?;
                    }
                    ::greenroom::Handled::Yes
                }
            };
        };
        let argument = match taken {
            Taken::Reference => quote_spanned!(at(event.span())=> &*__event),
            Taken::Shared => quote_spanned!(at(event.span())=> __event),
            Taken::Value => quote_spanned!(at(event.span())=> ::std::sync::Arc::unwrap_or_clone(__event)),
        };
        let context = quote_spanned!(at(context.span())=> __context);
        let call = quote_spanned!(at(output.span())=> Self::#method(self, #argument, #context).await);
        quote! {
            #(#cfgs)*
            #index => {
                let __event = (#event_type.read)(__envelope)?;
                let __result: ::greenroom::Result<()> = #call;
                __result?;
                ::greenroom::Handled::Yes
            }
        }
    }

    fn relay(&self) -> TokenStream {
        let Self { handler: Handler { cfgs, method, output, .. }, index, event_type, .. } = self;
        let outgoing = quote_spanned!(at(output.span())=> ::greenroom::IntoOutgoing::into_outgoing(Self::#method(&*__event)));
        quote! {
            #(#cfgs)*
            #index => ::core::option::Option::Some(match (#event_type.read)(__envelope) {
                ::core::result::Result::Ok(__event) => #outgoing,
                ::core::result::Result::Err(__error) => {
                    ::core::result::Result::Err(::greenroom::Error::from(__error))
                }
            }),
        }
    }
}
