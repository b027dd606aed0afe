//! The control frames that a client gets: JSON that is no message.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeTuple as _};

use super::down::Watermark;

/// One control frame. Members that are `None` or empty are left out.
///
/// A group stands in it by its short name, the text of 12 characters; in [`logs`](Self::logs) by its alias.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct Control {
    /// In the first frame of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hello: Option<Hello>,
    /// Which alias stands for which log from now on, and where the client is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logs: Option<BTreeMap<u32, LogStart>>,
    /// What became of each place that the client has named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resumed: Option<BTreeMap<String, Resumption>>,
    /// Whether all of [`resumed`](Self::resumed) are recovered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recovered: Option<bool>,
    /// The groups of which the client is no member any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) left: Vec<String>,
    /// The groups of which the client may have missed events, and why: the word for it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) lost: BTreeMap<String, &'static str>,
    /// Where the client is now in the logs of [`lost`](Self::lost).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) at: BTreeMap<String, Place>,
    /// The marks of events that are in no log, and that the client has by now.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) foreign: BTreeMap<u32, f64>,
    /// The sign of life that the client has asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pong: bool,
}

impl Control {
    /// The frame's JSON. It has no line breaks.
    pub(crate) fn to_json(&self) -> String {
        // Texts and numbers can always be written as JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a connection is told first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Hello {
    /// The name of the connection, which the next one gives back.
    pub(crate) id: String,
    /// The client may ask for a sign of life. While the server does not read, it gives one by itself, at least each so many
    /// seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ping: Option<u32>,
}

/// What became of a place that a client has named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumption {
    /// The word for the reason.
    Lost(&'static str),
    Recovered,
}

impl Serialize for Resumption {
    /// `true`, or the reason.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Lost(reason) => serializer.serialize_str(reason),
            Self::Recovered => serializer.serialize_bool(true),
        }
    }
}

/// A place in a log that has a life of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    /// 24 bits; others are left out.
    pub(crate) tag: u32,
}

impl Place {
    fn epoch(self) -> String {
        format!("{:016x}", self.epoch)
    }

    fn tag(self) -> String {
        format!("{:06x}", self.tag & 0xff_ffff)
    }
}

impl Serialize for Place {
    /// `["<epoch>",1842,"<tag>"]`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.epoch(), self.offset, self.tag()).serialize(serializer)
    }
}

/// A log, and where a client begins in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogStart {
    /// The short name of the group.
    pub(crate) gid: String,
    pub(crate) place: Place,
    /// The proof of where the client may begin to read.
    pub(crate) token: String,
    /// Up to when it knows the events that are in no log. It is finite; other numbers count as 0.
    pub(crate) foreign: f64,
}

impl Serialize for LogStart {
    /// `["<gid>","<epoch>",1842,"<tag>","<token>",0.0]`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_tuple(6)?;
        list.serialize_element(&self.gid)?;
        list.serialize_element(&self.place.epoch())?;
        list.serialize_element(&self.place.offset)?;
        list.serialize_element(&self.place.tag())?;
        list.serialize_element(&self.token)?;
        list.serialize_element(&Watermark(self.foreign).finite())?;
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { epoch: 0xabc, offset: 1_842, tag: 0xa_1b2c };

    fn start(gid: &str, foreign: f64) -> LogStart {
        LogStart { gid: gid.to_owned(), place: PLACE, token: "AVyH".to_owned(), foreign }
    }

    #[test]
    fn each_frame_is_written_as_the_protocol_says() {
        let hello = Some(Hello { id: "a.b!c~0123".to_owned(), ping: None });
        let pinging = Some(Hello { ping: Some(20), ..hello.clone().unwrap() });
        let logs = |foreign| Some(BTreeMap::from([(12, start("XIco3C3itxrz", foreign))]));
        let resumed =
            [("aaaaaaaaaaaa", Resumption::Recovered), ("bbbbbbbbbbbb", Resumption::Lost("trimmed"))];
        let resumed = Some(resumed.map(|(gid, what)| (gid.to_owned(), what)).into());
        let resumed = Control {
            resumed,
            recovered: Some(false),
            hello: hello.clone(),
            logs: logs(1.5),
            ..Control::default()
        };
        let none = Control { hello, logs: Some(BTreeMap::new()), ..Control::default() };
        let nothing = Control { resumed: Some(BTreeMap::new()), recovered: Some(true), ..none.clone() };
        let lost =
            Control { lost: BTreeMap::from([("aaaaaaaaaaaa".to_owned(), "trimmed")]), ..Control::default() };
        let at = BTreeMap::from([("aaaaaaaaaaaa".to_owned(), PLACE)]);
        let lost_at = Control { at, ..lost.clone() };
        let gids = || vec!["aaaaaaaaaaaa".to_owned(), "bbbbbbbbbbbb".to_owned()];
        for (control, json) in [
            (
                resumed,
                concat!(
                    r#"{"hello":{"id":"a.b!c~0123"},"#,
                    r#""logs":{"12":["XIco3C3itxrz","0000000000000abc",1842,"0a1b2c","AVyH",1.5]},"#,
                    r#""resumed":{"aaaaaaaaaaaa":true,"bbbbbbbbbbbb":"trimmed"},"recovered":false}"#,
                ),
            ),
            (none, r#"{"hello":{"id":"a.b!c~0123"},"logs":{}}"#),
            (nothing, r#"{"hello":{"id":"a.b!c~0123"},"logs":{},"resumed":{},"recovered":true}"#),
            (
                Control { logs: logs(f64::NAN), ..Control::default() },
                r#"{"logs":{"12":["XIco3C3itxrz","0000000000000abc",1842,"0a1b2c","AVyH",0.0]}}"#,
            ),
            (Control { left: gids(), ..Control::default() }, r#"{"left":["aaaaaaaaaaaa","bbbbbbbbbbbb"]}"#),
            (lost, r#"{"lost":{"aaaaaaaaaaaa":"trimmed"}}"#),
            (
                lost_at,
                r#"{"lost":{"aaaaaaaaaaaa":"trimmed"},"at":{"aaaaaaaaaaaa":["0000000000000abc",1842,"0a1b2c"]}}"#,
            ),
            (
                Control { foreign: BTreeMap::from([(12, 0.5)]), ..Control::default() },
                r#"{"foreign":{"12":0.5}}"#,
            ),
            (Control { hello: pinging, ..Control::default() }, r#"{"hello":{"id":"a.b!c~0123","ping":20}}"#),
            (Control { pong: true, ..Control::default() }, r#"{"pong":true}"#),
        ] {
            assert_eq!(control.to_json(), json);
        }
    }
}
