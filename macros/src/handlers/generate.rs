//! The implementation of `EventHandlers`.
//!
//! The code is in a `const _` block, so that its helpers have no names outside. It uses full paths, because the
//! user's module may have another `Result` or `Ok`.

use proc_macro2::{Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Generics, Ident, Path, Type, spanned::Spanned};

use super::{
    block::Block,
    model::{Handler, Taken, last_word},
    options::Options,
};
use crate::{names, root::Root};

/// The implementation for a consumer without events.
pub(crate) fn no_handlers(root: &Root, generics: &Generics, consumer: &Type) -> TokenStream {
    empty(root, generics, consumer, Side::Clients)
}

/// The implementation for a block with mistakes. It is empty, so that only the mistakes are reported.
pub(super) fn mistaken(root: &Root, block: &Block) -> TokenStream {
    empty(root, &block.generics, &block.consumer, Side::Any)
}

const ONLY: &str = "A_TYPE_HAS_NO_EVENTS_OR_ONE_BLOCK_OF_EVENT_HANDLERS";
const ONLY_HTTP: &str = "A_TYPE_HAS_NO_EVENTS_OR_ONE_BLOCK_OF_EVENT_HANDLERS_WITH_HTTP_CONTEXT";
const ONLY_WORKER: &str = "A_TYPE_HAS_NO_EVENTS_OR_ONE_BLOCK_OF_EVENT_HANDLERS_WITH_WORKER_CONTEXT";

/// An empty implementation for every context, for a derive with mistakes.
pub(crate) fn unknown(root: &Root, generics: &Generics, consumer: &Type) -> TokenStream {
    empty(root, generics, consumer, Side::Any)
}

/// The implementation of `body`, which calls its context `__Context`.
pub(crate) fn for_every_context(
    root: &Root,
    generics: &Generics,
    consumer: &Type,
    body: &TokenStream,
) -> TokenStream {
    implementation(root, generics, consumer, Side::Any, body)
}

fn empty(root: &Root, generics: &Generics, consumer: &Type, side: Side) -> TokenStream {
    let body = quote! {
        fn events() -> ::std::vec::Vec<&'static ::core::primitive::str> {
            ::std::vec::Vec::new()
        }

        async fn handle_event(
            &mut self,
            _: &#root::Envelope,
            _: &mut __Context,
        ) -> #root::Result<#root::Handled> {
            ::core::result::Result::Ok(#root::Handled::Unknown)
        }

        fn relay(
            _: &#root::Envelope,
        ) -> ::core::option::Option<#root::Result<#root::Outgoing>> {
            ::core::option::Option::None
        }
    };
    implementation(root, generics, consumer, side, &body)
}

pub(super) fn handlers(options: &Options, block: &Block, handlers: &[Handler]) -> TokenStream {
    let Options { root, all } = options;
    if handlers.is_empty() && all.is_empty() {
        return no_handlers(root, &block.generics, &block.consumer);
    }
    let side = Side::of(handlers);
    let parts: Vec<Part<'_>> =
        handlers.iter().enumerate().map(|(at, handler)| Part::new(root, at, handler)).collect();
    let consts = parts.iter().map(Part::consts);
    let checks = parts.iter().map(Part::checks);
    let complete = all.iter().map(|event| complete(root, event));
    let patterns = parts.iter().map(Part::pattern);
    let elements = parts.iter().map(Part::element);
    let context = side.context(root);
    let calls = parts.iter().map(|part| part.call(&context));
    let relays = parts.iter().filter(|part| part.handler.is_relay()).map(Part::relay);
    let body = quote! {
        fn events() -> ::std::vec::Vec<&'static ::core::primitive::str> {
            #root::__private::events(__HANDLERS)
        }

        async fn handle_event(
            &mut self,
            __envelope: &#root::Envelope,
            __context: &mut #context,
        ) -> #root::Result<#root::Handled> {
            let __done = match __handler_of(#root::Envelope::name(__envelope)) {
                #(#calls)*
                _ => #root::Handled::Unknown,
            };
            ::core::result::Result::Ok(__done)
        }

        fn relay(
            __envelope: &#root::Envelope,
        ) -> ::core::option::Option<#root::Result<#root::Outgoing>> {
            match __handler_of(#root::Envelope::name(__envelope)) {
                #(#relays)*
                _ => ::core::option::Option::None,
            }
        }
    };
    let implementation = implementation(root, &block.generics, &block.consumer, side, &body);
    quote! {
        #[allow(deprecated)]
        const _: () = {
            #(#consts)*
            const __HANDLERS: &[#root::__private::Handler] = &[#(#elements),*];
            #(#checks)*
            #(#complete)*

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
#[derive(Clone, Copy, PartialEq)]
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
    /// The side of the first handler with a context.
    pub(super) fn of(handlers: &[Handler]) -> Self {
        handlers.iter().find_map(|handler| handler.context.as_ref()).map_or(Self::Clients, Self::of_context)
    }

    /// Decides by the last word, because a macro sees only words.
    pub(super) fn of_context(context: &Type) -> Self {
        match last_word(context) {
            Some(word) if word == "HttpContext" => Self::Http,
            Some(word) if word == "WorkerContext" => Self::Worker,
            _ => Self::WebSocket,
        }
    }

    /// The last word of the context.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Http => "HttpContext",
            Self::Worker => "WorkerContext",
            Self::Any | Self::Clients | Self::WebSocket => "Context",
        }
    }

    /// A constant whose name says why a type cannot have a second block.
    ///
    /// Otherwise the compiler speaks only of a trait that the user did not write.
    fn only(self, generics: &Generics, consumer: &Type) -> TokenStream {
        let name = match self {
            Self::Any => return TokenStream::new(),
            Self::Clients | Self::WebSocket => format_ident!("{ONLY}"),
            Self::Http => format_ident!("{ONLY_HTTP}"),
            Self::Worker => format_ident!("{ONLY_WORKER}"),
        };
        let (parameters, _, conditions) = generics.split_for_impl();
        quote! {
            #[automatically_derived]
            #[allow(dead_code, deprecated)]
            impl #parameters #consumer #conditions {
                #[doc(hidden)]
                const #name: () = ();
            }
        }
    }

    fn context(self, root: &Root) -> TokenStream {
        match self {
            Self::Any | Self::Clients => quote!(__Context),
            Self::Http => quote!(#root::HttpContext),
            Self::WebSocket => quote!(#root::Context),
            Self::Worker => quote!(#root::WorkerContext),
        }
    }
}

/// Fails to compile if an event of the type has no handler.
fn complete(root: &Root, event: &Path) -> TokenStream {
    let span = at(event.span());
    let root = root.at(span);
    let text = event.segments.last().map_or_else(String::new, |last| last.ident.to_string());
    let all = quote_spanned!(span=> #root::__private::event_type::<#event>().names);
    quote_spanned!(span=> const _: () = #root::__private::check_all(#text, #all, __HANDLERS);)
}

fn implementation(
    root: &Root,
    generics: &Generics,
    consumer: &Type,
    side: Side,
    body: &TokenStream,
) -> TokenStream {
    let generics_of_block = generics;
    let mut generics = generics.clone();
    // `impl Chat<'_>` has a parameter that has no name.
    if !generics.params.is_empty() || has_lifetime(consumer.to_token_stream()) {
        generics.make_where_clause().predicates.push(syn::parse_quote!(Self: 'static));
    }
    match side {
        Side::Any => {
            generics.params.push(syn::parse_quote!(__Context: #root::consumer::EventContext));
        }
        Side::Clients => {
            generics.params.push(syn::parse_quote!(__Context: #root::consumer::ClientContext));
        }
        Side::Http | Side::WebSocket | Side::Worker => {}
    }
    let context = side.context(root);
    let (parameters, _, conditions) = generics.split_for_impl();
    let only = side.only(generics_of_block, consumer);
    quote! {
        #only
        #[automatically_derived]
        #[allow(deprecated, unused_variables, clippy::match_single_binding)]
        impl #parameters #root::EventHandlers<#context> for #consumer #conditions {
            #body
        }
    }
}

fn has_lifetime(words: TokenStream) -> bool {
    words.into_iter().any(|word| match word {
        TokenTree::Group(group) => has_lifetime(group.stream()),
        TokenTree::Punct(punct) => punct.as_char() == '\'',
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    })
}

/// The place of a word, for errors. Names at this place are those of the generated code, even if another macro wrote
/// the word.
fn at(span: Span) -> Span {
    span.resolved_at(Span::call_site())
}

/// A handler, and the names of the constants that are generated for it.
struct Part<'a> {
    root: &'a Root,
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
    fn new(root: &'a Root, at: usize, handler: &'a Handler) -> Self {
        Self {
            root,
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
        let Self {
            root, handler: Handler { cfgs, event, event_ident, on, .. }, event_type, about, name, ..
        } = self;
        let method = self.handler.method_text();
        let (event_text, snake) = (event_ident.to_string(), names::snake(event_ident));
        let on = match on {
            Some(on) => quote!(::core::option::Option::Some(#on)),
            None => quote!(::core::option::Option::None),
        };
        quote! {
            #(#cfgs)*
            const #event_type: #root::__private::EventType<#event> =
                #root::__private::event_type::<#event>();
            #(#cfgs)*
            const #about: #root::__private::Handler =
                #root::__private::Handler::new(#method, #on, #event_text, #snake, &#event_type);
            #(#cfgs)*
            const #name: &::core::primitive::str = #root::__private::first(#about.handled);
        }
    }

    /// The assertions. They are not part of the other constants, because an error in those would be repeated as a note
    /// at each use.
    fn checks(&self) -> TokenStream {
        let Self { handler: Handler { cfgs, method, on, .. }, about, .. } = self;
        let span = at(on.as_ref().map_or_else(|| method.span(), Spanned::span));
        // The compiler reports an error at the first word of the call, so the constant's name gets that place too.
        let about = Ident::new(&about.to_string(), span);
        let check = quote_spanned!(span=> #about.check());
        let check_first = quote_spanned!(span=> #about.check_first(__HANDLERS));
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
                _ if <[&::core::primitive::str]>::contains(#about.handled, &__name) => #index,
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
            root,
            handler: Handler { cfgs, method, event, output, taken, context, .. },
            index,
            event_type,
            ..
        } = self;
        let Some(context) = context else {
            return quote! {
                #(#cfgs)*
                #index => {
                    #root::consumer::ClientContext::pass_on(
                        __context,
                        #root::Envelope::name(__envelope),
                        || <Self as #root::EventHandlers<#side>>::relay(__envelope),
                    )?;
                    #root::Handled::Yes
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
                let __result: #root::Result<()> = #call;
                __result?;
                #root::Handled::Yes
            }
        }
    }

    fn relay(&self) -> TokenStream {
        let Self { root, handler: Handler { cfgs, method, output, .. }, index, event_type, .. } = self;
        let outgoing =
            quote_spanned!(at(output.span())=> #root::IntoOutgoing::into_outgoing(Self::#method(&*__event)));
        quote! {
            #(#cfgs)*
            #index => ::core::option::Option::Some(match (#event_type.read)(__envelope) {
                ::core::result::Result::Ok(__event) => #outgoing,
                ::core::result::Result::Err(__error) => {
                    ::core::result::Result::Err(#root::Error::from(__error))
                }
            }),
        }
    }
}
