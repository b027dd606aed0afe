//! The offers of a client, and the answer to them (RFC 7692, sections 5 and 7.1).

use std::num::NonZeroU32;

use super::{CompressParams, Deflate, InflateParams, Packer};

/// One offer of permessage-deflate, which may be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeflateOffer {
    server_no_takeover: bool,
    client_no_takeover: bool,
    /// The largest window of our compressor that the client accepts.
    server_bits: Option<u8>,
    /// Whether the answer may limit the client's window. It never does, because all inflaters have the largest window.
    client_bits: bool,
}

impl DeflateOffer {
    /// An offer without parameters.
    pub(crate) fn new() -> Self {
        Self { server_no_takeover: false, client_no_takeover: false, server_bits: None, client_bits: false }
    }

    /// Adds a parameter. `None` if the offer must be declined (section 7.1).
    ///
    /// That is so if the parameter is unknown, repeated, or has an invalid value.
    pub(crate) fn with(mut self, name: &str, value: Option<&str>) -> Option<Self> {
        let twice = match name {
            "server_no_context_takeover" if value.is_none() => {
                std::mem::replace(&mut self.server_no_takeover, true)
            }
            "client_no_context_takeover" if value.is_none() => {
                std::mem::replace(&mut self.client_no_takeover, true)
            }
            "server_max_window_bits" => self.server_bits.replace(window_bits(value?)?).is_some(),
            "client_max_window_bits" => {
                if let Some(value) = value {
                    window_bits(value)?;
                }
                std::mem::replace(&mut self.client_bits, true)
            }
            _ => return None,
        };
        (!twice).then_some(self)
    }
}

/// Reads the bits of a window: 8 to 15, without leading zeroes.
fn window_bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits: &u8| (8..=15).contains(bits))?;
    (value == bits.to_string()).then_some(bits)
}

/// What was agreed on with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    compress: CompressParams,
    server_takeover: bool,
    client_takeover: bool,
    /// Whether the client is told our window.
    tell_bits: bool,
    inflated_size: Option<usize>,
}

/// The answer to the first of `offers` that can be accepted.
pub(crate) fn settle(offers: &[DeflateOffer], wanted: &Deflate) -> Option<Agreed> {
    // Our compressor has no window of 8 bits. An offer that asks for one is declined, and a later one may be accepted.
    let offer = offers.iter().find(|offer| offer.server_bits != Some(8))?;
    let bits = offer.server_bits.map_or(wanted.window_bits, |most| most.min(wanted.window_bits));
    // At least 1, because an empty message cannot get smaller.
    let threshold = NonZeroU32::new(wanted.threshold).unwrap_or(NonZeroU32::MIN);
    Some(Agreed {
        compress: CompressParams { bits, level: wanted.level, threshold },
        server_takeover: wanted.server_takeover && !offer.server_no_takeover,
        client_takeover: wanted.client_takeover && !offer.client_no_takeover,
        tell_bits: offer.server_bits.is_some() || bits < 15,
        inflated_size: wanted.inflated_size,
    })
}

impl Agreed {
    /// The value of the answer's `Sec-WebSocket-Extensions`.
    pub(crate) fn header(&self) -> String {
        let mut header = "permessage-deflate".to_owned();
        if !self.server_takeover {
            header.push_str("; server_no_context_takeover");
        }
        if !self.client_takeover {
            header.push_str("; client_no_context_takeover");
        }
        if self.tell_bits {
            header.push_str("; server_max_window_bits=");
            header.push_str(&self.compress.bits.to_string());
        }
        header
    }

    /// How messages to the client are compressed before they enter the outbox.
    ///
    /// `None` with context takeover. Then no two connections share bytes, and the [`packer`](Self::packer) compresses
    /// later.
    pub(crate) fn compress_params(&self) -> Option<CompressParams> {
        (!self.server_takeover).then_some(self.compress)
    }

    /// Compresses messages on their way from the outbox to the socket, with context takeover.
    pub(crate) fn packer(&self) -> Option<Packer> {
        self.server_takeover.then(|| Packer::new(self.compress))
    }

    /// How messages of the client are inflated, up to `message_size` unless the route sets another limit.
    pub(crate) fn inflate_params(&self, message_size: usize) -> InflateParams {
        InflateParams { limit: self.inflated_size.unwrap_or(message_size), takeover: self.client_takeover }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::websocket::extensions::offers;

    const NONE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn takeover() -> Deflate {
        Deflate::new().server_context_takeover(true).client_context_takeover(true)
    }

    /// The answer to the values of the header.
    fn answer(values: &[&str], wanted: &Deflate) -> Option<String> {
        let offers = offers(values.iter().map(|value| value.as_bytes())).expect("well-formed");
        settle(&offers, wanted).map(|agreed| agreed.header())
    }

    #[track_caller]
    fn answers(value: &str, default: &str, with_takeover: &str) {
        assert_eq!(answer(&[value], &Deflate::new()).as_deref(), Some(default));
        assert_eq!(answer(&[value], &takeover()).as_deref(), Some(with_takeover));
    }

    #[track_caller]
    fn declined(value: &str) {
        assert_eq!(answer(&[value], &Deflate::new()), None, "{value}");
        let fallback = format!("{value}, permessage-deflate");
        assert_eq!(answer(&[&fallback], &Deflate::new()).as_deref(), Some(NONE), "{value}");
    }

    #[test]
    fn the_default_answer_takes_no_context_over() {
        answers("permessage-deflate", NONE, "permessage-deflate");
    }

    #[test]
    fn the_examples_of_section_7_1() {
        // What Chromium and the RFC's second example offer; then the RFC's third, with its fallback.
        answers("permessage-deflate; client_max_window_bits", NONE, "permessage-deflate");
        answers(
            "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
            &format!("{NONE}; server_max_window_bits=10"),
            "permessage-deflate; server_max_window_bits=10",
        );
        answers(
            "permessage-deflate; client_max_window_bits; server_max_window_bits=10, \
             permessage-deflate; client_max_window_bits",
            &format!("{NONE}; server_max_window_bits=10"),
            "permessage-deflate; server_max_window_bits=10",
        );
    }

    #[test]
    fn what_the_client_forbids_is_not_done() {
        answers(
            "permessage-deflate; server_no_context_takeover",
            NONE,
            "permessage-deflate; server_no_context_takeover",
        );
        answers(
            "permessage-deflate; client_no_context_takeover",
            NONE,
            "permessage-deflate; client_no_context_takeover",
        );
    }

    #[test]
    fn our_window_is_the_smaller_of_both_wishes() {
        for (offer, wanted, told) in [
            ("permessage-deflate", 15, None),
            ("permessage-deflate", 12, Some(12)),
            ("permessage-deflate; server_max_window_bits=15", 15, Some(15)),
            ("permessage-deflate; server_max_window_bits=15", 12, Some(12)),
            ("permessage-deflate; server_max_window_bits=9", 12, Some(9)),
            ("permessage-deflate; server_max_window_bits=\"10\"", 15, Some(10)),
        ] {
            let told = told.map_or(NONE.to_owned(), |bits| format!("{NONE}; server_max_window_bits={bits}"));
            let wanted = Deflate::new().window_bits(wanted);
            assert_eq!(answer(&[offer], &wanted), Some(told), "{offer}");
        }
    }

    #[test]
    fn any_window_of_the_client_is_accepted() {
        for bits in 8..=15 {
            let offer = format!("permessage-deflate; client_max_window_bits={bits}");
            answers(&offer, NONE, "permessage-deflate");
        }
    }

    #[test]
    fn a_window_of_8_bits_is_declined() {
        declined("permessage-deflate; server_max_window_bits=8");
    }

    #[test]
    fn offers_with_bad_parameters_are_declined() {
        for parameters in [
            "unknown",
            "unknown=1",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=010",
            "server_max_window_bits=+9",
            "server_max_window_bits=1x",
            "server_max_window_bits=266",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=08",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits; client_max_window_bits=10",
        ] {
            declined(&format!("permessage-deflate; {parameters}"));
        }
    }

    #[test]
    fn the_first_acceptable_offer_of_all_headers_is_accepted() {
        let values = [
            "x-other; y, permessage-deflate; what",
            "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=11",
            "permessage-deflate; server_max_window_bits=12",
        ];
        let taken = format!("{NONE}; server_max_window_bits=11");
        assert_eq!(answer(&values, &Deflate::new()), Some(taken));
        assert_eq!(answer(&[], &Deflate::new()), None);
        assert_eq!(answer(&["x-other"], &Deflate::new()), None);
    }
}
