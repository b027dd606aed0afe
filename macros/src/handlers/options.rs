//! The arguments of `#[event_handlers(…)]`.

use proc_macro2::TokenStream;
use syn::{
    Path, Token,
    parse::{ParseStream, Parser},
    punctuated::Punctuated,
};

use crate::{errors::Errors, root::Root};

#[derive(Default)]
pub(super) struct Options {
    pub(super) root: Root,
    /// The types in `all(…)`: each of their events must have a handler.
    pub(super) all: Vec<Path>,
}

const TEXT: &str = "`#[event_handlers]` takes `all(RoomEvent)` and `crate = \"a::path\"`: remove everything else, and write \
                    `#[on(\"chat.message\")]` above a method to name its event";

impl Options {
    pub(super) fn parse(arguments: TokenStream, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        let read = |input: ParseStream<'_>| {
            while !input.is_empty() {
                options.one(input)?;
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        };
        if let Err(error) = read.parse2(arguments) {
            errors.add(error);
        }
        options
    }

    fn one(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        if input.peek(Token![crate]) {
            self.root = Root::parse(input)?;
            return Ok(());
        }
        let ahead = input.fork();
        if ahead.parse::<syn::Ident>().is_ok_and(|name| name == "all") && ahead.peek(syn::token::Paren) {
            input.parse::<syn::Ident>()?;
            let types;
            syn::parenthesized!(types in input);
            self.all.extend(Punctuated::<Path, Token![,]>::parse_terminated(&types)?);
            return Ok(());
        }
        let words: TokenStream = input.parse()?;
        Err(syn::Error::new_spanned(words, TEXT))
    }
}
