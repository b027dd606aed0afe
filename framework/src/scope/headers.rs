//! The request's headers, its cookies, and other values that are read from headers.

use cookie::Cookie;

use super::{HEADERS, Scope, cookies, header_block::HeaderBlock, list};

impl Scope {
    /// The first header of this name, if its value is text. Case does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// All headers, with names in lower case. Duplicates are kept.
    ///
    /// They come in the order in which actix gives them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        HeaderBlock(self.texts.get(HEADERS)).iter()
    }

    /// All values of one header, from the first to the last line.
    pub(crate) fn header_values(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        self.headers().filter(move |(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The first cookie of this name, with its value percent-decoded.
    ///
    /// The name is compared as the client sent it.
    /// If two cookies have one name, browsers send the one with the longer path first. Django takes the last one.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<Cookie<'_>> {
        self.cookies().find(|cookie| cookie.name() == name)
    }

    /// All cookies of the request, with their values percent-decoded.
    ///
    /// A cookie that cannot be read, or whose value decodes to a control character, is left out alone. Unlike in
    /// Channels, no middleware is needed: cookies are read when they are asked for.
    pub fn cookies(&self) -> impl Iterator<Item = Cookie<'_>> {
        cookies::raw_cookies(self.header_values("cookie")).filter_map(cookies::read)
    }

    /// The `Origin` header, which names the site of the page. Only browsers send it.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.header("origin")
    }

    /// Adds subprotocols that the request offers in another place than the header. They must be tokens.
    pub(crate) fn set_subprotocols(&mut self, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let mut block = self.texts.get(HEADERS).to_vec();
        HeaderBlock::push(&mut block, "sec-websocket-protocol", names.join(", ").as_bytes());
        self.texts = self.texts.replaced(HEADERS, &block);
    }

    /// The subprotocols that the client offers, in its order of preference.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.headers()
            .filter(|(known, _)| *known == "sec-websocket-protocol")
            .flat_map(|(_, value)| list::elements(value))
            .filter_map(|name| std::str::from_utf8(name).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_duplicates_and_ignore_case() {
        let scope = Scope::builder("/")
            .header("X-Twice", "one")
            .header("x-twice", "two: 2")
            .header("x-empty", "")
            .build();
        assert_eq!(scope.header("X-TWICE"), Some("one"));
        assert_eq!(scope.header("x-empty"), Some(""));
        assert_eq!(scope.header("x-none"), None);
        let all: Vec<_> = scope.headers().filter(|(name, _)| *name == "x-twice").collect();
        assert_eq!(all, [("x-twice", &b"one"[..]), ("x-twice", b"two: 2")]);
    }

    #[test]
    fn a_header_that_is_not_text_is_seen_as_bytes_only() {
        let scope = Scope::builder("/").header("x-latin", &b"caf\xe9"[..]).build();
        assert_eq!(scope.header("x-latin"), None);
        assert!(scope.headers().any(|header| header == ("x-latin", &b"caf\xe9"[..])));
    }

    #[test]
    fn cookies_are_decoded_and_broken_ones_left_out() {
        let scope = Scope::builder("/")
            .header("cookie", "a=1; novalue; b=x%20y; a=2; =empty")
            .header("cookie", "c=%E2%82%AC")
            .build();
        let value = |name| scope.cookie(name).map(|cookie| cookie.value().to_owned());
        assert_eq!(value("a").as_deref(), Some("1"));
        assert_eq!(value("b").as_deref(), Some("x y"));
        assert_eq!(value("c").as_deref(), Some("€"));
        assert_eq!(value("novalue"), None);
        assert_eq!(scope.cookies().count(), 4);
        let latin = Scope::builder("/").header("cookie", &b"promo=10\xe9; sessionid=s"[..]).build();
        assert_eq!(latin.cookie("sessionid").map(|cookie| cookie.value().to_owned()).as_deref(), Some("s"));
        assert_eq!(latin.cookies().count(), 1);
        assert_eq!(Scope::builder("/").build().cookies().count(), 0);
    }

    #[test]
    fn subprotocols_come_from_every_line_in_order() {
        let scope = Scope::builder("/")
            .header("sec-websocket-protocol", "subprotocol1, subprotocol2")
            .header("sec-websocket-protocol", "")
            .header("sec-websocket-protocol", &b"third,,\xff"[..])
            .build();
        assert_eq!(scope.subprotocols().collect::<Vec<_>>(), ["subprotocol1", "subprotocol2", "third"]);
    }
}
