//! Headers that middleware or the consumer adds to the answer.

use std::ops::RangeInclusive;

use actix_web::http::{
    StatusCode,
    header::{HeaderName, HeaderValue, SET_COOKIE},
};
use cookie::{Cookie, SameSite};

use super::Scope;
use crate::error::MisuseError;

impl Scope {
    /// Adds a header to the answer, be it the accept or the rejection.
    ///
    /// If several headers have one name, all are sent. Has no effect after the connection was accepted or rejected.
    ///
    /// # Errors
    /// [`MisuseError::BadHeader`] if the name or the value is invalid, or if the name belongs to the handshake or to
    /// the framing of the answer: `connection`, `content-length`, `sec-websocket-*`, `transfer-encoding`, `upgrade`.
    pub fn add_response_header(
        &self,
        name: impl TryInto<HeaderName> + AsRef<str>,
        value: impl TryInto<HeaderValue>,
    ) -> Result<(), MisuseError> {
        let (name, value) = answer_header(name, value)?;
        self.push(name, value);
        Ok(())
    }

    /// Sets a cookie with the accept or the rejection.
    ///
    /// Unless the cookie says otherwise, it gets `Path=/` and `SameSite=Lax`, and neither `Secure` nor `HttpOnly`, as
    /// in Channels. The value is percent-encoded. The name is sent as it is, because names are compared as they are.
    ///
    /// # Errors
    /// [`MisuseError::BadHeader`] if the name is not a token (RFC 9110, section 5.6.2), or if a header cannot have such
    /// a path or domain.
    pub fn set_cookie(&self, mut cookie: Cookie<'static>) -> Result<(), MisuseError> {
        if cookie.path().is_none() {
            cookie.set_path("/");
        }
        if cookie.same_site().is_none() {
            cookie.set_same_site(SameSite::Lax);
        }
        let bad = || MisuseError::BadHeader(SET_COOKIE.to_string());
        // The name of a header is a token too.
        HeaderName::try_from(cookie.name()).map_err(|_| bad())?;
        let encoded = cookie.encoded().to_string();
        let at = encoded.find('=').ok_or_else(bad)?;
        let value =
            HeaderValue::try_from(format!("{}{}", cookie.name(), &encoded[at..])).map_err(|_| bad())?;
        self.push(SET_COOKIE, value);
        Ok(())
    }

    /// Makes the client forget a cookie that was set with `Path=/` and no domain.
    ///
    /// For other cookies, call [`set_cookie`](Self::set_cookie) with `Cookie::build(name).path(…).removal()`.
    ///
    /// # Errors
    /// As [`set_cookie`](Self::set_cookie).
    pub fn delete_cookie(&self, name: &str) -> Result<(), MisuseError> {
        self.set_cookie(Cookie::build(name.to_owned()).removal().build())
    }

    fn push(&self, name: HeaderName, value: HeaderValue) {
        self.with_handshake(|handshake| handshake.headers.push((name, value)));
    }
}

/// A header for an answer: checked, and none that belongs to the handshake or to the framing.
pub(crate) fn answer_header(
    name: impl TryInto<HeaderName> + AsRef<str>,
    value: impl TryInto<HeaderValue>,
) -> Result<(HeaderName, HeaderValue), MisuseError> {
    let text = name.as_ref().to_owned();
    match (name.try_into(), value.try_into()) {
        (Ok(name), Ok(value)) if !is_reserved(name.as_str()) => Ok((name, value)),
        _ => Err(MisuseError::BadHeader(text)),
    }
}

/// A status of an answer, if it is in the range. The error is the number, if it is a status at all.
pub(crate) fn answer_status(
    status: impl TryInto<StatusCode>,
    range: RangeInclusive<u16>,
) -> Result<StatusCode, Option<u16>> {
    let status = status.try_into().map_err(|_| None)?;
    if range.contains(&status.as_u16()) { Ok(status) } else { Err(Some(status.as_u16())) }
}

fn is_reserved(name: &str) -> bool {
    name.starts_with("sec-websocket-")
        || matches!(name, "connection" | "content-length" | "transfer-encoding" | "upgrade")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(scope: &Scope) -> Vec<String> {
        let headers = scope.take_response_headers();
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    /// Channels' `test_set_cookie`. Only the order of the attributes and the case of `Lax` differ.
    #[test]
    fn cookies_get_the_defaults_of_channels() {
        let scope = Scope::builder("/").build();
        scope.set_cookie(Cookie::new("Testing-Key", "testing-value")).unwrap();
        assert_eq!(lines(&scope), ["set-cookie: Testing-Key=testing-value; SameSite=Lax; Path=/"]);
        assert!(lines(&scope).is_empty(), "they are taken");
    }

    #[test]
    fn cookies_keep_what_they_say_and_are_encoded() {
        let scope = Scope::builder("/").build();
        let cookie = Cookie::build(("a", "x y;")).path("/p").same_site(SameSite::Strict).http_only(true);
        scope.set_cookie(cookie.build()).unwrap();
        scope.delete_cookie("b").unwrap();
        let lines = lines(&scope);
        assert_eq!(lines[0], "set-cookie: a=x%20y%3B; HttpOnly; SameSite=Strict; Path=/p");
        assert!(
            lines[1].starts_with("set-cookie: b=; SameSite=Lax; Path=/; Max-Age=0; Expires="),
            "{}",
            lines[1]
        );
        let injected = Cookie::build(("a", "b")).path("/\r\nx: y");
        assert!(scope.set_cookie(injected.build()).is_err());
        for name in ["", "a b", "a=b", "a;b", "caf\u{e9}"] {
            assert!(scope.set_cookie(Cookie::new(name, "x")).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_cookie_that_was_set_is_read_back() {
        for name in ["__Host-s", "a%5Fb", "a#b^c|d`e"] {
            let scope = Scope::builder("/").build();
            scope.set_cookie(Cookie::new(name, "x; y%")).unwrap();
            let line = lines(&scope).remove(0);
            let (cookie, _) = line["set-cookie: ".len()..].split_once(';').unwrap();
            let back = Scope::builder("/").header("cookie", cookie).build();
            assert_eq!(back.cookie(name).map(|cookie| cookie.value().to_owned()).as_deref(), Some("x; y%"));
        }
    }

    #[test]
    fn headers_are_checked_and_keep_their_order() {
        let scope = Scope::builder("/").build();
        scope.add_response_header("X-A", "1").unwrap();
        scope.add_response_header(HeaderName::from_static("x-a"), 2_u16).unwrap();
        for (name, value) in [("a b", "1"), ("x", "a\nb"), ("Upgrade", "x"), ("Sec-WebSocket-Protocol", "x")]
        {
            assert_eq!(scope.add_response_header(name, value), Err(MisuseError::BadHeader(name.to_owned())));
        }
        assert_eq!(lines(&scope), ["x-a: 1", "x-a: 2"]);
    }
}
