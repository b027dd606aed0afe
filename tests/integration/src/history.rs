//! A client that is told its places: it names them when it comes back.

use std::{collections::BTreeMap, net::SocketAddr};

use greenroom::testing::LiveServer;
use serde_json::{Value, json};

use crate::{Client, tungstenite::Message};

/// What a client knows of one log.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The life of the log.
    pub epoch: String,
    /// The number of the last event that was heard.
    pub offset: u64,
    /// The random bits of that event.
    pub tag: String,
    /// What the server gave, so that the client may come back.
    pub token: String,
    /// The mark of the last event that is in no log.
    pub foreign: f64,
}

/// What a client has heard, and can go on from.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// By the short name of the group.
    pub logs: BTreeMap<String, Known>,
    /// The ids of its connections so far.
    pub was: Vec<String>,
}

/// A client that is told its places.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    /// What it has heard.
    pub memory: Memory,
    aliases: BTreeMap<u32, String>,
    /// What the server said of the places that were named.
    pub resumed: Value,
}

/// One frame of the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// What the server says of connections and places.
    Control(Value),
    /// A message, and its offset and part if it is one of a log.
    Text(String, Option<(u64, u32)>),
    /// The event with this offset is done.
    Mark(u64),
}

impl Reader {
    /// Connects for the first time.
    pub async fn new(server: &LiveServer, path: &str) -> Self {
        Self::open(server, path, Memory::default(), false).await
    }

    /// Connects again, and names the places of an earlier connection.
    pub async fn again(server: &LiveServer, path: &str, memory: Memory) -> Self {
        Self::open(server, path, memory, true).await
    }

    /// Connects to a server in another process, and names the places of an earlier connection if there are any.
    pub async fn at(address: SocketAddr, path: &str, memory: Option<Memory>) -> Self {
        let client = Client::at(address, &marked(path, memory.is_some())).await;
        Self::begin(client, memory).await
    }

    async fn open(server: &LiveServer, path: &str, memory: Memory, resume: bool) -> Self {
        let client = Self::handshake(server, path, resume).await;
        Self::begin(client, resume.then_some(memory)).await
    }

    async fn begin(mut client: Client, memory: Option<Memory>) -> Self {
        let resume = memory.is_some();
        let memory = memory.unwrap_or_default();
        if resume {
            client.send(&resume_frame(&memory)).await;
        }
        let mut reader = Self { client, memory, aliases: BTreeMap::new(), resumed: Value::Null };
        let Frame::Control(hello) = reader.frame().await else {
            panic!("the first frame is the introduction")
        };
        // A layer whose server has not answered yet cannot sign the name.
        assert!(hello["hello"]["id"].as_str().is_some_and(|id| id.is_empty() || id.contains('~')), "{hello}");
        reader
    }

    /// Opens a WebSocket, and asks for places.
    pub async fn handshake(server: &LiveServer, path: &str, resume: bool) -> Client {
        Client::connect(server, &marked(path, resume)).await
    }

    /// Sends a message to the consumer.
    pub async fn say(&mut self, text: &str) {
        self.client.send(&format!("m{text}")).await;
    }

    /// The next frame. What it says of places is remembered.
    pub async fn frame(&mut self) -> Frame {
        let text = match self.client.next().await {
            Message::Text(text) => text.to_string(),
            other => panic!("a text was expected, not {other:?}"),
        };
        let (kind, rest) = text.split_at(1);
        match kind {
            "m" => Frame::Text(rest.to_owned(), None),
            "c" => {
                let control: Value = serde_json::from_str(rest).expect("JSON");
                self.note(&control);
                Frame::Control(control)
            }
            "h" => {
                let (head, payload) = rest.split_once('\n').expect("a head and a message");
                let (alias, offset, tag, part) = head_of(head);
                if part == 0 {
                    self.move_to(alias, offset, tag);
                }
                Frame::Text(payload.to_owned(), Some((offset, part)))
            }
            "p" => {
                let (alias, offset, tag, _) = head_of(rest);
                self.move_to(alias, offset, tag);
                Frame::Mark(offset)
            }
            "f" => {
                let (head, payload) = rest.split_once('\n').expect("a head and a message");
                let (alias, mark) = head.split_once('.').expect("an alias and a mark");
                self.heard_foreign(alias, mark.parse().expect("a number"));
                Frame::Text(payload.to_owned(), None)
            }
            _ => panic!("no such kind: {text}"),
        }
    }

    fn move_to(&mut self, alias: u32, offset: u64, tag: String) {
        let known = self.memory.logs.get_mut(&self.aliases[&alias]).expect("the alias was told");
        assert!(offset > known.offset, "an event comes once and in order: {offset} after {}", known.offset);
        (known.offset, known.tag) = (offset, tag);
    }

    fn heard_foreign(&mut self, alias: &str, mark: f64) {
        let gid = &self.aliases[&alias.parse::<u32>().expect("a number")];
        let known = self.memory.logs.get_mut(gid).expect("the alias was told");
        known.foreign = known.foreign.max(mark);
    }

    fn note(&mut self, control: &Value) {
        for (alias, mark) in control["foreign"].as_object().into_iter().flatten() {
            self.heard_foreign(alias, mark.as_f64().expect("a number"));
        }
        if let Some(id) = control["hello"]["id"].as_str() {
            self.memory.was.push(id.to_owned());
        }
        if !control["resumed"].is_null() {
            self.resumed = control["resumed"].clone();
        }
        for (alias, log) in control["logs"].as_object().into_iter().flatten() {
            let text = |at: usize| log[at].as_str().expect("a text").to_owned();
            let known = Known {
                epoch: text(1),
                offset: log[2].as_u64().expect("a number"),
                tag: text(3),
                token: text(4),
                foreign: log[5].as_f64().expect("a number"),
            };
            self.aliases.insert(alias.parse().expect("a number"), text(0));
            self.memory.logs.insert(text(0), known);
        }
        for (gid, place) in control["at"].as_object().into_iter().flatten() {
            let known = self.memory.logs.get_mut(gid).expect("it is known");
            known.epoch = place[0].as_str().expect("a text").to_owned();
            known.offset = place[1].as_u64().expect("a number");
            known.tag = place[2].as_str().expect("a text").to_owned();
        }
    }

    /// Waits until it is in a group that keeps its events. A client is greeted before that, if joining takes long.
    pub async fn joined(&mut self) {
        while self.memory.logs.is_empty() {
            let frame = self.frame().await;
            assert!(matches!(frame, Frame::Control(_)), "{frame:?}");
        }
    }

    /// Waits until it is told what became of its places. A client is greeted before that, if joining takes long.
    pub async fn answered(&mut self) {
        while self.resumed.is_null() {
            let frame = self.frame().await;
            assert!(matches!(frame, Frame::Control(_)), "{frame:?}");
        }
    }

    /// The next message. What else comes is skipped.
    pub async fn text(&mut self) -> String {
        loop {
            if let Frame::Text(text, _) = self.frame().await {
                return text;
            }
        }
    }

    /// The next so many messages.
    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            texts.push(self.text().await);
        }
        texts
    }

    /// Whether the server said that all is recovered, or why not, of the only place that was named.
    pub fn outcome(&self) -> String {
        let resumed = self.resumed.as_object().expect("it came back");
        assert_eq!(resumed.len(), 1, "{resumed:?}");
        match resumed.values().next() {
            Some(Value::Bool(true)) => "recovered".to_owned(),
            Some(Value::String(reason)) => reason.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Loses the connection. What was heard stays known.
    pub fn cut(self) -> Memory {
        self.client.abort();
        self.memory
    }

    /// The code and the reason with which the server ends the connection.
    pub async fn closed(&mut self) -> (u16, String) {
        self.client.closed().await
    }
}

/// The path with which a client asks for places.
fn marked(path: &str, resume: bool) -> String {
    let join = if path.contains('?') { '&' } else { '?' };
    let resume = if resume { "&resume=1" } else { "" };
    format!("{path}{join}greenroom=socket&v=1{resume}")
}

/// The first frame of a client that comes back.
pub fn resume_frame(memory: &Memory) -> String {
    let logs: Vec<_> =
        memory.logs.values().map(|log| json!([log.token, log.offset, log.tag, log.foreign])).collect();
    format!("c{}", json!({ "resume": { "was": memory.was, "logs": logs } }))
}

fn head_of(head: &str) -> (u32, u64, String, u32) {
    let mut parts = head.split('.');
    let mut next = || parts.next();
    let alias = next().and_then(|text| text.parse().ok()).expect("an alias");
    let offset = next().and_then(|text| text.parse().ok()).expect("an offset");
    let tag = next().expect("a tag").to_owned();
    let part = next().map_or(0, |text| text.parse().expect("a part"));
    (alias, offset, tag, part)
}
