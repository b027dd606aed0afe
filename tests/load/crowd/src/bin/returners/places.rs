//! The marked form of a WebSocket, from the side of a client: its places in the logs of its groups, and the frames.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What a client knows of its groups' logs, over all its connections.
#[derive(Default)]
pub struct Places {
    /// The name that the server gave to the last connection.
    connection: Option<String>,
    /// By the short name of the group.
    logs: BTreeMap<String, Place>,
    /// The numbers that this connection uses for the groups.
    aliases: Vec<(u64, String)>,
}

struct Place {
    epoch: String,
    offset: u64,
    tag: String,
    /// How many frames of the event behind the place have come.
    part: u64,
    token: String,
    foreign: f64,
}

/// What a frame meant.
#[derive(Debug, PartialEq)]
pub enum Heard<'a> {
    /// A message for the page.
    Message(&'a str),
    /// A message that the page has had. The client drops it.
    Repeated,
    /// The answer to the opening. For each group that the client had named: `None` if it has missed nothing, else why.
    Hello(Vec<Option<String>>),
    /// Events of some groups are lost, while the connection lives.
    Lost(Vec<String>),
    /// Something that only moves a place.
    Nothing,
    /// A frame that the protocol does not allow.
    Wrong(&'static str),
}

impl Places {
    /// Whether the client has a place to name.
    pub fn any(&self) -> bool {
        self.connection.is_some()
    }

    /// The first frame of a connection that resumes.
    pub fn resume(&self) -> String {
        let logs: Vec<_> = self
            .logs
            .values()
            .map(|place| match place.foreign {
                0.0 => json!([place.token, place.offset, place.tag]),
                mark => json!([place.token, place.offset, place.tag, mark]),
            })
            .collect();
        let was: Vec<_> = self.connection.iter().collect();
        format!("c{}", json!({"resume": {"was": was, "logs": logs}}))
    }

    /// Reads a text frame.
    pub fn hear<'a>(&mut self, frame: &'a str) -> Heard<'a> {
        let (Some(kind), Some(rest)) = (frame.get(..1), frame.get(1..)) else {
            return Heard::Wrong("an empty frame");
        };
        match kind {
            "m" => Heard::Message(rest),
            "h" => match rest.split_once('\n') {
                Some((mark, payload)) => self.logged(mark, Some(payload)),
                None => Heard::Wrong("a logged message without its line"),
            },
            "p" => self.logged(rest, None),
            "f" => self.foreign(rest),
            "c" => match serde_json::from_str(rest) {
                Ok(control) => self.control(&control),
                Err(_) => Heard::Wrong("a control frame that is no JSON"),
            },
            _ => Heard::Wrong("a frame of an unknown kind"),
        }
    }

    fn place(&mut self, alias: &str) -> Option<&mut Place> {
        let alias: u64 = alias.parse().ok()?;
        let (_, group) = self.aliases.iter().find(|(known, _)| *known == alias)?;
        self.logs.get_mut(group)
    }

    /// A logged message, or the mark that an event is done. The place moves before the page gets the message.
    fn logged<'a>(&mut self, mark: &str, payload: Option<&'a str>) -> Heard<'a> {
        let mut parts = mark.split('.');
        let (Some(alias), Some(Ok(offset)), Some(tag), part, None) = (
            parts.next(),
            parts.next().map(str::parse::<u64>),
            parts.next(),
            parts.next().map(str::parse::<u64>),
            parts.next(),
        ) else {
            return Heard::Wrong("a place with other parts");
        };
        let Some(place) = self.place(alias) else {
            return Heard::Wrong("a group that was not named");
        };
        if offset <= place.offset {
            return if payload.is_some() { Heard::Repeated } else { Heard::Nothing };
        }
        match (part, payload) {
            (Some(Ok(part)), Some(payload)) if part > 0 => {
                // Parts belong to the event behind the place. The place stays until its mark.
                if part <= place.part {
                    return Heard::Repeated;
                }
                place.part = part;
                Heard::Message(payload)
            }
            (None, payload) => {
                (place.offset, place.part) = (offset, 0);
                tag.clone_into(&mut place.tag);
                payload.map_or(Heard::Nothing, Heard::Message)
            }
            _ => Heard::Wrong("a part without its number or its message"),
        }
    }

    fn foreign<'a>(&mut self, rest: &'a str) -> Heard<'a> {
        let Some((mark, payload)) = rest.split_once('\n') else {
            return Heard::Wrong("a foreign message without its line");
        };
        let Some((alias, watermark)) = mark.split_once('.') else {
            return Heard::Wrong("a foreign message without its watermark");
        };
        match (self.place(alias), watermark.parse::<f64>()) {
            (Some(place), Ok(watermark)) => {
                place.foreign = place.foreign.max(watermark);
                Heard::Message(payload)
            }
            _ => Heard::Wrong("a foreign message of a group that was not named"),
        }
    }

    fn control(&mut self, control: &Value) -> Heard<'static> {
        let strings = |object: &Value| -> Vec<String> {
            let words = object.as_object().into_iter().flatten();
            words.map(|(_, word)| word.as_str().unwrap_or("no word").to_owned()).collect()
        };
        let is_hello = control.get("hello").is_some();
        if let Some(id) = control["hello"]["id"].as_str() {
            self.connection = Some(id.to_owned());
            self.aliases.clear();
        } else if is_hello {
            return Heard::Wrong("a hello without an id");
        }
        // The groups that were named in the resume frame, before the answer moves them.
        let named: Vec<String> = self.logs.keys().cloned().collect();
        if let Some(logs) = control["logs"].as_object() {
            for (alias, log) in logs {
                if let Err(what) = self.joined(alias, log) {
                    return Heard::Wrong(what);
                }
            }
        }
        for group in control["left"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.logs.remove(group);
            self.aliases.retain(|(_, known)| known != group);
        }
        if let Some(places) = control["at"].as_object() {
            for (group, at) in places {
                let Some(place) = self.logs.get_mut(group) else {
                    return Heard::Wrong("a new place in a group that was not named");
                };
                let (Some(epoch), Some(offset), Some(tag)) = (at[0].as_str(), at[1].as_u64(), at[2].as_str())
                else {
                    return Heard::Wrong("a new place with other parts");
                };
                (place.epoch, place.offset, place.tag) = (epoch.to_owned(), offset, tag.to_owned());
                place.part = 0;
            }
        }
        let has_answer = control.get("resumed").is_some();
        if is_hello && !has_answer && !named.is_empty() {
            // The server took long to let the client in: what became of its places comes later.
            return Heard::Nothing;
        }
        if is_hello || has_answer {
            let resumed = &control["resumed"];
            let outcome = |group: &String| match &resumed[group] {
                Value::Bool(true) => None,
                Value::String(reason) => Some(reason.clone()),
                _ => Some("nothing said".to_owned()),
            };
            let outcomes: Vec<_> = named.iter().map(outcome).collect();
            if control["recovered"] == true && outcomes.iter().any(Option::is_some) {
                return Heard::Wrong("recovered, though not in all groups");
            }
            return Heard::Hello(outcomes);
        }
        match control.get("lost") {
            Some(lost) => Heard::Lost(strings(lost)),
            None => Heard::Nothing,
        }
    }

    /// A group that the connection is in: `[short name, epoch, offset, tag, token, watermark]`.
    fn joined(&mut self, alias: &str, log: &Value) -> Result<(), &'static str> {
        let (Ok(alias), Some(group), Some(epoch), Some(offset), Some(tag), Some(token)) = (
            alias.parse(),
            log[0].as_str(),
            log[1].as_str(),
            log[2].as_u64(),
            log[3].as_str(),
            log[4].as_str(),
        ) else {
            return Err("a group with other parts");
        };
        let before = self.logs.get(group);
        // If nothing was missed, the frames of an event that was cut in its middle still count.
        let part = before.filter(|before| (&*before.epoch, before.offset) == (epoch, offset));
        let place = Place {
            epoch: epoch.to_owned(),
            offset,
            tag: tag.to_owned(),
            part: part.map_or(0, |before| before.part),
            token: token.to_owned(),
            foreign: log[5].as_f64().unwrap_or(0.0),
        };
        self.logs.insert(group.to_owned(), place);
        self.aliases.retain(|(known, _)| *known != alias);
        self.aliases.push((alias, group.to_owned()));
        Ok(())
    }
}
