//! Reads `X-Forwarded-*` and `Forwarded` from the right: from the nearest proxy outwards.
//!
//! Anyone can write the left part of these headers. So nothing in it, such as an open quote, may change how the
//! right part is read.

use std::net::SocketAddr;

use super::proxy::{Hop, MOST_HOPS};
use crate::{
    Scope,
    scope::{Scheme, list::elements_from_right},
};

/// Reads what each proxy says in `X-Forwarded-*`, the nearest proxy first.
pub(super) fn x_forwarded(scope: &Scope) -> Vec<Hop<'_>> {
    let list =
        |name| lines(scope, name).flat_map(|line| elements_from_right(line, b',', false)).take(MOST_HOPS);
    let mut clients: Vec<_> = list("x-forwarded-for").map(address).collect();
    let schemes: Vec<_> = list("x-forwarded-proto").map(scheme).collect();
    let hosts: Vec<_> = list("x-forwarded-host").collect();
    if clients.is_empty() && !(schemes.is_empty() && hosts.is_empty()) {
        clients.push(None);
    }
    let count = clients.len();
    let place = |at, len| if len == count { at } else { 0 };
    let hop = |(at, client)| Hop {
        client,
        scheme: schemes.get(place(at, schemes.len())).copied().flatten(),
        host: hosts.get(place(at, hosts.len())).copied(),
    };
    clients.into_iter().enumerate().map(hop).collect()
}

/// Reads what each proxy says in `Forwarded` (RFC 7239), the nearest proxy first.
pub(super) fn forwarded(scope: &Scope) -> Vec<Hop<'_>> {
    let elements = lines(scope, "forwarded").flat_map(|line| elements_from_right(line, b',', true));
    elements.take(MOST_HOPS).map(element).collect()
}

fn element(element: &str) -> Hop<'_> {
    let mut hop = Hop::default();
    for pair in elements_from_right(element.as_bytes(), b';', true) {
        let Some((key, value)) = pair.split_once('=') else { continue };
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        match key.to_ascii_lowercase().as_str() {
            "for" => hop.client = address(value),
            "host" => hop.host = Some(value),
            "proto" => hop.scheme = scheme(value),
            _ => {}
        }
    }
    hop
}

/// The values of a header, the last line first.
fn lines<'a>(scope: &'a Scope, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let mut lines: Vec<_> =
        scope.headers().filter(|(known, _)| *known == name).map(|(_, value)| value).collect();
    lines.reverse();
    lines.into_iter()
}

/// Reads an address with or without a port. An IPv6 address stands in brackets, or has no port. If there is no
/// port, or an obfuscated one, the port is 0.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None if text.matches(':').count() > 1 => (text, ""),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) if port.starts_with('_') => 0,
        Some(port) => port.parse().ok()?,
        None if port.is_empty() => 0,
        None => return None,
    };
    Some(SocketAddr::new(ip.parse().ok()?, port))
}

fn scheme(text: &str) -> Option<Scheme> {
    match text.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some(Scheme::Http),
        "https" | "wss" => Some(Scheme::Https),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_many_forms() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1:0")),
            ("192.0.2.1:80", Some("192.0.2.1:80")),
            ("2001:db8::1", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]:4711", Some("[2001:db8::1]:4711")),
            ("192.0.2.1:_port", Some("192.0.2.1:0")),
            ("unknown", None),
            ("_hidden", None),
            ("_hidden:80", None),
            ("192.0.2.1:99999", None),
            ("192.0.2.256", None),
            ("[192.0.2.1", None),
            ("", None),
        ] {
            assert_eq!(address(text), expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }
}
