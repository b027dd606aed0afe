//! The upgrade request and its answer (RFC 6455, section 4.2).

use std::{collections::HashSet, error::Error as StdError, fmt};

use actix_http::ws::hash_key;
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        Method, StatusCode, Version,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};
use bytestring::ByteString;

use super::{deflate, extensions};
use crate::{scope::list, wire::token::is_token};

/// A valid request for a WebSocket.
pub(crate) struct UpgradeRequest {
    /// The subprotocols that the client offers, in the order of its preference.
    pub(crate) subprotocols: Vec<ByteString>,
    /// The client's offers of compression, in the order of its preference.
    pub(crate) deflate: Vec<deflate::DeflateOffer>,
    /// The answer, without what the consumer decides.
    response: HttpResponseBuilder,
}

impl UpgradeRequest {
    /// The 101 that opens the connection, with the chosen subprotocol and further headers.
    ///
    /// The subprotocol must be one of [`subprotocols`](Self::subprotocols). Finish the response with the body that
    /// streams the frames, or without a body.
    pub(crate) fn accept(
        mut self,
        subprotocol: Option<&str>,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> HttpResponseBuilder {
        if let Some(subprotocol) = subprotocol {
            self.response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, subprotocol));
        }
        for header in headers {
            self.response.append_header(header);
        }
        self.response
    }
}

impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest").field("subprotocols", &self.subprotocols).finish_non_exhaustive()
    }
}

/// Why a request cannot become a WebSocket. The client is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum HandshakeError {
    /// The request has a body.
    Body,
    /// `Connection` does not say `upgrade`.
    Connection,
    /// The request came before the answer to an earlier request on the same connection.
    Early,
    /// `Sec-WebSocket-Extensions` is malformed.
    Extensions,
    /// HTTP/1.0, or HTTP/2, which has no `Upgrade`.
    HttpVersion,
    /// `Sec-WebSocket-Key` is missing, repeated, or not 16 bytes in base64.
    Key,
    /// The method is not GET.
    Method,
    /// `Sec-WebSocket-Protocol` is not a list of different tokens.
    Subprotocols,
    /// `Upgrade` does not say `websocket`, or offers another protocol too.
    Upgrade,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
}

impl HandshakeError {
    /// The response: a status, a header that says what is supported, and a text that says what to change.
    pub(crate) fn response(self) -> HttpResponse {
        let mut response = HttpResponse::build(match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        });
        match self {
            Self::Method => response.insert_header((header::ALLOW, "GET")),
            Self::Version => response.insert_header((header::SEC_WEBSOCKET_VERSION, "13")),
            _ => &mut response,
        };
        // The client takes what follows for frames, or for requests: nobody can know.
        response.force_close().content_type("text/plain; charset=utf-8").body(self.to_string())
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body => "this is a WebSocket: send no body with the handshake",
            Self::Connection => "this is a WebSocket: send the header Connection: Upgrade",
            Self::Early => "this is a WebSocket: send the handshake after the answers to earlier requests",
            Self::Extensions => {
                "the header Sec-WebSocket-Extensions must be a list of names with parameters, as in RFC 6455, \
                 section 9.1"
            }
            Self::HttpVersion => "this is a WebSocket: use HTTP/1.1",
            Self::Key => "send the header Sec-WebSocket-Key once, with 16 random bytes in base64",
            Self::Method => "this is a WebSocket: use the method GET",
            Self::Subprotocols => {
                "the header Sec-WebSocket-Protocol must be a list of different names: letters, digits and \
                 !#$%&'*+-.^_`|~, with commas between them"
            }
            Self::Upgrade => "this is a WebSocket: send the header Upgrade: websocket once, and no other protocol",
            Self::Version => "this is a WebSocket: send the header Sec-WebSocket-Version: 13",
        })
    }
}

impl StdError for HandshakeError {}

/// Whether a request asks to become a WebSocket, even if its handshake is wrong.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket")
}

/// Checks a request (section 4.2.1) and prepares its answer.
pub(crate) fn check(req: &HttpRequest) -> Result<UpgradeRequest, HandshakeError> {
    if *req.method() != Method::GET {
        return Err(HandshakeError::Method);
    }
    if req.version() != Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    let headers = req.headers();
    if has_body(headers) {
        return Err(HandshakeError::Body);
    }
    // This is narrower than the list that RFC 9110, section 7.8 allows. actix-http hands over the connection if a line of
    // this header is `websocket`; otherwise it goes on to read requests, and a 101 would be a tunnel for them.
    if !only(headers, header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(HandshakeError::Upgrade);
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(HandshakeError::Connection);
    }
    let mut versions = elements(headers, header::SEC_WEBSOCKET_VERSION);
    if versions.next() != Some(b"13") || versions.any(|other| other != b"13") {
        return Err(HandshakeError::Version);
    }
    let Some(key) = only(headers, header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key)) else {
        return Err(HandshakeError::Key);
    };
    let subprotocols = subprotocols(headers)?;
    let extensions = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).map(HeaderValue::as_bytes);
    let deflate = extensions::offers(extensions).ok_or(HandshakeError::Extensions)?;
    let mut response = HttpResponse::SwitchingProtocols();
    response
        .upgrade("websocket")
        .insert_header((header::SEC_WEBSOCKET_ACCEPT, &hash_key(key.as_bytes())[..]));
    Ok(UpgradeRequest { subprotocols, deflate, response })
}

/// Whether a body follows the head. Its bytes would be read as frames.
fn has_body(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING)
        || lengths.any(|length| {
            length.to_str().ok().and_then(|length| length.trim().parse::<u64>().ok()) != Some(0)
        })
}

/// The value of a header that must appear exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name);
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.trim())
}

/// The elements of a header that is a list, from all its lines.
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).flat_map(|value| list::elements(value.as_bytes()))
}

/// Whether a header, which is a list of tokens, has this token in upper or lower case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    elements(headers, name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether a key is 16 bytes in base64: 22 characters and two `=`.
fn is_key(key: &str) -> bool {
    key.len() == 24
        && key.strip_suffix("==").is_some_and(|key| {
            key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        })
}

/// Reads the offered subprotocols, which are tokens "and MUST all be unique" (section 4.1).
fn subprotocols(headers: &HeaderMap) -> Result<Vec<ByteString>, HandshakeError> {
    let mut offered = Vec::new();
    let mut seen = HashSet::new();
    for name in elements(headers, header::SEC_WEBSOCKET_PROTOCOL) {
        match std::str::from_utf8(name) {
            Ok(name) if is_token(name) && seen.insert(name) => offered.push(ByteString::from(name)),
            _ => return Err(HandshakeError::Subprotocols),
        }
    }
    Ok(offered)
}

#[cfg(test)]
mod tests {
    use actix_web::{body::to_bytes, test::TestRequest};
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use sha1::{Digest as _, Sha1};

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// A valid request, without the headers in `without`.
    fn request(without: &[HeaderName]) -> TestRequest {
        let headers = [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, KEY),
        ];
        headers
            .into_iter()
            .filter(|(name, _)| !without.contains(name))
            .fold(TestRequest::get(), TestRequest::append_header)
    }

    fn checked(request: TestRequest) -> Result<UpgradeRequest, HandshakeError> {
        check(&request.to_http_request())
    }

    /// Checks a request that is valid, except that one header has these values.
    fn with(name: HeaderName, values: &[&str]) -> Result<Vec<ByteString>, HandshakeError> {
        let request = request(std::slice::from_ref(&name));
        let request =
            values.iter().fold(request, |request, value| request.append_header((name.clone(), *value)));
        checked(request).map(|offer| offer.subprotocols)
    }

    fn accept_of(key: &str) -> String {
        let request = request(&[header::SEC_WEBSOCKET_KEY]).append_header((header::SEC_WEBSOCKET_KEY, key));
        let response = checked(request).unwrap().accept(None, []).finish();
        response.headers().get(header::SEC_WEBSOCKET_ACCEPT).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_key_is_answered_as_section_1_3_says() {
        let hash =
            |key: &str| STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
        for key in ["mnwFxiOlctXFN/DeMt1Amg==", KEY, "AAAAAAAAAAAAAAAAAAAAAA=="] {
            assert_eq!(accept_of(key), hash(key));
        }
        assert_eq!(accept_of(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the example of the RFC");
    }

    #[test]
    fn the_answer_is_a_101_with_subprotocol_and_headers() {
        let offer = checked(request(&[]).append_header((header::SEC_WEBSOCKET_PROTOCOL, "v1, v2"))).unwrap();
        assert_eq!(offer.subprotocols, ["v1", "v2"]);
        let cookie = |value| (header::SET_COOKIE, HeaderValue::from_static(value));
        let response = offer.accept(Some("v2"), [cookie("a=1"), cookie("b=2")]).finish();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert!(response.head().upgrade(), "actix adds `Connection: upgrade` to it");
        assert_eq!(response.headers().get(header::UPGRADE).unwrap(), "websocket");
        assert_eq!(response.headers().get(header::SEC_WEBSOCKET_PROTOCOL).unwrap(), "v2");
        assert_eq!(response.headers().get_all(header::SET_COOKIE).count(), 2);

        let plain = checked(request(&[])).unwrap().accept(None, []).finish();
        assert!(!plain.headers().contains_key(header::SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn method_and_version_of_http() {
        let error = checked(request(&[]).method(Method::POST)).unwrap_err();
        assert_eq!(error, HandshakeError::Method);
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let error = checked(request(&[]).version(version)).unwrap_err();
            assert_eq!(error, HandshakeError::HttpVersion);
        }
    }

    #[test]
    fn a_handshake_has_no_body() {
        for bad in ["5", "x", "-1"] {
            assert_eq!(with(header::CONTENT_LENGTH, &[bad]), Err(HandshakeError::Body), "{bad:?}");
        }
        assert_eq!(with(header::TRANSFER_ENCODING, &["chunked"]), Err(HandshakeError::Body));
        assert!(with(header::CONTENT_LENGTH, &["0"]).is_ok());
    }

    #[test]
    fn upgrade_and_connection_need_their_tokens() {
        assert!(with(header::UPGRADE, &["WebSocket"]).is_ok());
        for bad in [
            &[][..],
            &["h2c"],
            &["websockets"],
            &["not-websocket"],
            &["web socket"],
            &["websocket,"],
            &["websocket, h2c"],
            &["websocket", "h2c"],
            &["websocket", "websocket"],
        ] {
            assert_eq!(with(header::UPGRADE, bad), Err(HandshakeError::Upgrade), "{bad:?}");
        }
        for good in [
            &["upgrade"][..],
            &["keep-alive", "UPGRADE"],
            &[" x,upgrade "],
            &["upgrade, close"],
            &["", ",upgrade,"],
        ] {
            assert!(with(header::CONNECTION, good).is_ok(), "{good:?}");
        }
        for bad in [&[][..], &["keep-alive"], &["upgrades"], &[","]] {
            assert_eq!(with(header::CONNECTION, bad), Err(HandshakeError::Connection), "{bad:?}");
        }
    }

    #[test]
    fn only_version_13_is_spoken() {
        for good in [&["13"][..], &["13", "13"], &["13, 13,"], &["", "13"]] {
            assert!(with(header::SEC_WEBSOCKET_VERSION, good).is_ok(), "{good:?}");
        }
        for bad in
            [&[][..], &["7"], &["8"], &["12"], &["14"], &["130"], &["13, 8"], &["13", "8"], &[""], &[","]]
        {
            assert_eq!(with(header::SEC_WEBSOCKET_VERSION, bad), Err(HandshakeError::Version), "{bad:?}");
        }
    }

    #[test]
    fn the_key_is_16_bytes_in_base64_once() {
        assert!(with(header::SEC_WEBSOCKET_KEY, &["+/+/+/+/+/+/+/+/+/+/+w=="]).is_ok());
        for bad in [
            &[][..],
            &[""],
            &[KEY, KEY],
            &["dGhlIHNhbXBsZSBub25jZQ"],
            &["dGhlIHNhbXBsZSBub25jZQ=a"],
            &["dGhlIHNhbXBsZSBub25jZQa="],
            &["dGhlIHNhbXBsZSBub25jZTE="],
            &["dGhlIHNhbXBsZSBub25jZTEy"],
            &["dGhlIHNhbXBsZSBub25j_Q=="],
            &["dGhlIHNhbXBsZSBub25j Q=="],
            &["bm90IHNpeHRlZW4="],
        ] {
            assert_eq!(with(header::SEC_WEBSOCKET_KEY, bad), Err(HandshakeError::Key), "{bad:?}");
        }
    }

    #[test]
    fn subprotocols_are_a_list_of_different_tokens() {
        let offered = |values: &[&str]| with(header::SEC_WEBSOCKET_PROTOCOL, values);
        assert_eq!(offered(&[]).unwrap(), [""; 0]);
        assert_eq!(offered(&["chat, graphql-ws", "v1.x"]).unwrap(), ["chat", "graphql-ws", "v1.x"]);
        for none in [&[""][..], &[","], &["", " , "]] {
            assert_eq!(offered(none).unwrap(), [""; 0], "{none:?}");
        }
        assert_eq!(offered(&["a,", ",b,,c"]).unwrap(), ["a", "b", "c"]);
        for bad in [&["a b"][..], &["a;q=1"], &["\"a\""], &["a, a"], &["a", "a"], &["é"]] {
            assert_eq!(offered(bad), Err(HandshakeError::Subprotocols), "{bad:?}");
        }
    }

    #[actix_web::test]
    async fn every_refusal_says_how_to_mend_it() {
        use HandshakeError::*;
        for (error, status, header) in [
            (Body, 400, None),
            (Connection, 400, None),
            (Early, 400, None),
            (Extensions, 400, None),
            (HttpVersion, 400, None),
            (Key, 400, None),
            (Method, 405, Some((header::ALLOW, "GET"))),
            (Subprotocols, 400, None),
            (Upgrade, 400, None),
            (Version, 426, Some((header::SEC_WEBSOCKET_VERSION, "13"))),
        ] {
            let response = error.response();
            assert_eq!(response.status().as_u16(), status);
            if let Some((name, value)) = header {
                assert_eq!(response.headers().get(name).unwrap(), value);
            }
            let text = error.to_string();
            assert!(!text.ends_with('.') && !text.starts_with(char::is_uppercase), "{text}");
            assert_eq!(to_bytes(response.into_body()).await.unwrap(), text);
        }
    }
}
