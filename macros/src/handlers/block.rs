//! The words of an `impl` block: its methods, whose bodies are not read.
//!
//! The bodies are passed on as they are. So the handlers of a block are known even while someone writes in one of the
//! bodies, and an editor shows only the mistake in that body.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt, quote};
use syn::{
    Attribute, Generics, ImplItem, ItemImpl, Path, Signature, Token, Type, Visibility,
    parse::{Parse, ParseStream, Parser, discouraged::Speculative},
};

use crate::errors::Errors;

pub(super) struct Block {
    /// The words before the braces.
    header: TokenStream,
    pub(super) generics: Generics,
    /// The trait, if this is the block of one.
    pub(super) of_trait: Option<Path>,
    pub(super) consumer: Type,
    braces: Group,
    inner: Vec<Attribute>,
    pub(super) items: Vec<Item>,
}

pub(super) enum Item {
    Method(Box<Method>),
    /// A constant, or words that are no item: then the compiler reports them.
    Other(TokenStream),
    /// An item that cannot be in the block.
    Stranger(Box<ImplItem>),
}

pub(super) struct Method {
    pub(super) attributes: Vec<Attribute>,
    visibility: Visibility,
    pub(super) signature: Signature,
    /// The body in its braces, or `;`.
    body: TokenTree,
}

impl Block {
    /// Reads a block. Items that cannot be read are mistakes, and the rest of the block is still read.
    pub(super) fn parse(words: TokenStream, errors: &mut Errors) -> syn::Result<Self> {
        let mut words: Vec<TokenTree> = words.into_iter().collect();
        let braces = match words.pop() {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => group,
            last => return Err(syn::Error::new_spanned(last, "expected an `impl` block")),
        };
        let header: TokenStream = words.into_iter().collect();
        let ItemImpl { generics, trait_, self_ty, .. } = syn::parse2(quote!(#header {}))?;
        let read = |input: ParseStream<'_>| {
            let inner = Attribute::parse_inner(input)?;
            let mut items = Vec::new();
            while !input.is_empty() {
                items.push(item(input, errors)?);
            }
            Ok((inner, items))
        };
        let (inner, items) = read.parse2(braces.stream())?;
        let of_trait = trait_.map(|(_, path, _)| path);
        Ok(Self { header, generics, of_trait, consumer: *self_ty, braces, inner, items })
    }

    pub(super) fn methods_mut(&mut self) -> impl Iterator<Item = &mut Method> {
        self.items.iter_mut().filter_map(|item| match item {
            Item::Method(method) => Some(&mut **method),
            Item::Other(_) | Item::Stranger(_) => None,
        })
    }
}

fn item(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Item> {
    let ahead = input.fork();
    if let Ok(method) = ahead.parse::<Method>() {
        input.advance_to(&ahead);
        return Ok(Item::Method(Box::new(method)));
    }
    let ahead = input.fork();
    match ahead.parse() {
        Ok(item) => {
            input.advance_to(&ahead);
            Ok(match item {
                ImplItem::Const(_) => Item::Other(item.into_token_stream()),
                stranger => Item::Stranger(Box::new(stranger)),
            })
        }
        Err(error) => {
            errors.add(error);
            skip(input).map(Item::Other)
        }
    }
}

/// Takes the words up to the end of an item.
fn skip(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut words = TokenStream::new();
    while !input.is_empty() {
        let word: TokenTree = input.parse()?;
        let ends = match &word {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            TokenTree::Punct(punct) => punct.as_char() == ';',
            TokenTree::Ident(_) | TokenTree::Literal(_) => false,
        };
        words.append(word);
        if ends {
            break;
        }
    }
    Ok(words)
}

impl Parse for Method {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = Attribute::parse_outer(input)?;
        let visibility = input.parse()?;
        let signature = input.parse()?;
        if !input.peek(syn::token::Brace) && !input.peek(Token![;]) {
            return Err(input.error("expected the body of a method"));
        }
        Ok(Self { attributes, visibility, signature, body: input.parse()? })
    }
}

impl ToTokens for Method {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attributes, visibility, signature, body } = self;
        tokens.extend(quote!(#(#attributes)* #visibility #signature #body));
    }
}

impl ToTokens for Item {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Method(method) => method.to_tokens(tokens),
            Self::Other(words) => words.to_tokens(tokens),
            Self::Stranger(item) => item.to_tokens(tokens),
        }
    }
}

impl ToTokens for Block {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { header, inner, items, .. } = self;
        let mut braces = Group::new(Delimiter::Brace, quote!(#(#inner)* #(#items)*));
        braces.set_span(self.braces.span());
        tokens.extend(quote!(#header #braces));
    }
}
