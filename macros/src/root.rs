//! The path of the library in the code that uses it, and `crate = "…"`, which changes it.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::{LitStr, Path, Token, parse::ParseStream};

/// `::greenroom`, or what the user wrote: for a dependency under another name, and for a crate that passes the library on.
#[derive(Clone, Default)]
pub(crate) struct Root(Option<Path>);

impl Root {
    /// Reads `crate = "a::path"`.
    pub(crate) fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.parse::<Token![crate]>()?;
        input.parse::<Token![=]>()?;
        let path: LitStr = input.parse()?;
        let parsed = path.parse_with(Path::parse_mod_style);
        let text = "write the path of the library, for example `crate = \"my_server::greenroom\"`";
        parsed.map(|path| Self(Some(path))).map_err(|_| syn::Error::new(path.span(), text))
    }
}

impl Root {
    /// The path as if it were written at `span`, so that errors point there.
    pub(crate) fn at(&self, span: Span) -> TokenStream {
        match &self.0 {
            Some(path) => path.to_token_stream(),
            None => quote_spanned!(span=> ::greenroom),
        }
    }
}

impl ToTokens for Root {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.at(Span::call_site()));
    }
}
