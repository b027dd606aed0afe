//! The header `Sec-WebSocket-Extensions` (RFC 6455, section 9.1).

use std::borrow::Cow;

use crate::{
    scope::list,
    wire::token::{is_token, is_token_byte},
};

use super::deflate::DeflateOffer;

/// Reads the offers of permessage-deflate from all values of the header.
///
/// They come in the order of the client's preference. Other extensions are skipped, and so are offers that a server
/// must decline (RFC 7692, section 7). `None`: a value is malformed, and the handshake fails.
pub(crate) fn offers<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<DeflateOffer>> {
    let mut offers = Vec::new();
    // No valid parameter has a comma in quotes, because a value is a token. So its parts are malformed too.
    for element in values.into_iter().flat_map(list::elements) {
        let mut rest = Rest(std::str::from_utf8(element).ok()?);
        offers.extend(extension(&mut rest)?);
        if !rest.0.is_empty() {
            return None;
        }
    }
    Some(offers)
}

/// Reads one extension with its parameters.
///
/// `Some(None)`: it is another extension, or an offer that must be declined. `None`: it is malformed.
fn extension(rest: &mut Rest<'_>) -> Option<Option<DeflateOffer>> {
    let name = rest.token()?;
    let mut offer = (name == "permessage-deflate").then(DeflateOffer::new);
    rest.skip_space();
    while rest.take(';') {
        rest.skip_space();
        let parameter = rest.token()?;
        rest.skip_space();
        let value = if rest.take('=') {
            rest.skip_space();
            let value = rest.value()?;
            rest.skip_space();
            Some(value)
        } else {
            None
        };
        offer = offer.and_then(|offer| offer.with(parameter, value.as_deref()));
    }
    Some(offer)
}

/// The part of a header value that is not read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self, wanted: char) -> bool {
        let rest = self.0.strip_prefix(wanted);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.0.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at_checked(end).filter(|(token, _)| !token.is_empty())?;
        self.0 = rest;
        Some(token)
    }

    /// Reads a token, with or without quotes.
    fn value(&mut self) -> Option<Cow<'a, str>> {
        if !self.take('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut chars = self.0.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(chars.next()?),
                c => value.push(c),
            }
        }
        self.0 = chars.as_str();
        // "The value after quoted-string unescaping MUST conform to the 'token' ABNF."
        is_token(&value).then_some(Cow::Owned(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(values: &[&str]) -> Option<usize> {
        offers(values.iter().map(|value| value.as_bytes())).map(|offers| offers.len())
    }

    #[test]
    fn malformed_values_fail() {
        for bad in [
            "permessage-deflate;",
            "permessage-deflate; =1",
            "permessage-deflate; a=",
            "permessage-deflate; a=\"",
            "permessage-deflate; a=\"\"",
            "permessage-deflate; a=\"b c\"",
            "permessage-deflate; a=\"b\\\"",
            "permessage-deflate; a=b c",
            "permessage-deflate permessage-deflate",
            "permessage deflate",
            "per(message",
            "x; a==b",
            "x; a=\"b,c\"",
            "permessage-deflate; client_max_window_bits=\"10,\"",
            "x, \"y\"",
            "é",
        ] {
            assert_eq!(count(&[bad]), None, "{bad:?}");
            assert_eq!(count(&["permessage-deflate", bad]), None, "{bad:?} in a second header");
        }
    }

    #[test]
    fn other_extensions_are_skipped() {
        for none in [&[][..], &[""], &[" "], &[",", " ,\t,"]] {
            assert_eq!(count(none), Some(0), "{none:?}");
        }
        assert_eq!(count(&["x-webkit-deflate-frame"]), Some(0));
        assert_eq!(count(&["foo; a; b=1; c=\"d\", permessage-deflate"]), Some(1));
        assert_eq!(count(&["Permessage-Deflate"]), Some(0), "names are case-sensitive");
    }

    #[test]
    fn lists_may_have_spaces_and_empty_elements() {
        for good in [
            "permessage-deflate",
            " permessage-deflate\t",
            ",permessage-deflate, ,",
            "permessage-deflate;client_max_window_bits",
            "permessage-deflate ; client_max_window_bits = 10 ",
            "permessage-deflate; client_max_window_bits=\"10\"",
            "permessage-deflate; client_max_window_bits=\"1\\0\"",
        ] {
            assert_eq!(count(&[good]), Some(1), "{good:?}");
        }
    }
}
