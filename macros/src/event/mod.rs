//! The derive `Event`.

mod check;
mod generate;
pub(crate) mod model;
mod rename;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::errors::Errors;

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let event = model::Event::from_input(&input, &mut errors);
    check::check(&input, &event, &mut errors);
    if errors.is_empty() { generate::event(&event) } else { generate::empty(&event.root, &input, &errors) }
}
