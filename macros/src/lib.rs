//! The derives and attributes of greenroom.
use proc_macro::TokenStream;
/// stub
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
/// stub
#[proc_macro_derive(NoEvents)]
pub fn derive_no_events(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
/// stub
#[proc_macro_attribute]
pub fn event_handlers(_: TokenStream, item: TokenStream) -> TokenStream {
    item
}
