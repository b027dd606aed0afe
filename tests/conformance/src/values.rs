//! The values that a message may hold, and that its receivers do not share them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use greenroom::{Envelope, LayerConfig, Mount, event::Format, prelude::*, testing::WebsocketCommunicator};

use crate::{
    Server,
    common::{Note, group, next, next_note, note, one, queue},
};

/// An event with every type of value (rule 35).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event("every.value")]
struct EveryValue {
    bytes: Bytes,
    text: String,
    least: i64,
    greatest: i64,
    beyond: u64,
    float: f64,
    smallest: f64,
    list: Vec<Option<i64>>,
    empty: Vec<String>,
    map: BTreeMap<String, Vec<bool>>,
    pair: (i64, String),
    yes: bool,
    no: bool,
    nothing: Option<String>,
}

fn every_value() -> EveryValue {
    EveryValue {
        bytes: Bytes::from_static(&[0, 1, 127, 128, 255]),
        text: "ünïcødé 🎭 \0 \" \\ \u{2028}".to_owned(),
        least: i64::MIN,
        greatest: i64::MAX,
        beyond: u64::MAX,
        float: 0.1,
        smallest: f64::MIN_POSITIVE,
        list: vec![Some(-1), None, Some(1)],
        empty: Vec::new(),
        map: BTreeMap::from([(String::new(), Vec::new()), ("key".to_owned(), vec![true, false])]),
        pair: (7, "seven".to_owned()),
        yes: true,
        no: false,
        nothing: None,
    }
}

/// Rule 35: every type of value arrives as it was sent, through a channel and through a group.
pub async fn rule_35_every_value_arrives<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let (room, jobs) = (group("room"), queue::<S>(&layer, "jobs").await);
    layer.group_add(&room, &jobs).await.unwrap();
    layer.send(&jobs, every_value()).await.unwrap();
    layer.group_send(&room, every_value()).await.unwrap();
    for _ in 0..2 {
        let received = next(&layer, &jobs).await;
        assert_eq!(received.name(), "every.value");
        assert_eq!(*received.event::<EveryValue>().unwrap(), every_value());
    }
}

/// Rule 35; `test_serialize`, `test_deserialize`: the same for events that come in their wire form.
pub async fn rule_35_every_value_arrives_from_the_wire<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    let sent = Envelope::new(every_value());
    let json = Envelope::from_json(sent.to_json().unwrap()).unwrap();
    let msgpack = Envelope::from_wire(Format::MsgPack, sent.to_wire(Format::MsgPack).unwrap()).unwrap();
    for envelope in [json, msgpack] {
        layer.send(&jobs, envelope).await.unwrap();
        let received = next(&layer, &jobs).await;
        assert_eq!(received.name(), "every.value");
        assert_eq!(*received.event::<EveryValue>().unwrap(), every_value());
        // Another program would get the same event on the wire.
        let again = Envelope::from_wire(Format::MsgPack, received.to_wire(Format::MsgPack).unwrap()).unwrap();
        assert_eq!(*again.event::<EveryValue>().unwrap(), every_value());
    }
}

/// An event that no Rust type here describes passes through unchanged.
pub async fn an_event_without_a_rust_type_passes_unchanged<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    let text = r#"{"type":"xx.oo","message":{"text":"hello"}}"#;
    layer.send(&jobs, Envelope::from_json(text).unwrap()).await.unwrap();
    let received = next(&layer, &jobs).await;
    assert_eq!((received.name(), received.to_json().unwrap().as_str()), ("xx.oo", text));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
struct Blob {
    bytes: Bytes,
    text: String,
}

/// Rule 35: a message of more than a megabyte arrives, as it was sent and in its wire form.
pub async fn rule_35_a_megabyte_arrives<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let (room, jobs) = (group("room"), queue::<S>(&layer, "jobs").await);
    layer.group_add(&room, &jobs).await.unwrap();
    let bytes: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    let blob = Blob { bytes: bytes.into(), text: "ü".repeat(1 << 19) };
    layer.group_send(&room, &blob).await.unwrap();
    let wire = Envelope::new(blob.clone()).to_wire(Format::MsgPack).unwrap();
    layer.send(&jobs, Envelope::from_wire(Format::MsgPack, wire).unwrap()).await.unwrap();
    for _ in 0..2 {
        assert!(*next(&layer, &jobs).await.event::<Blob>().unwrap() == blob, "it arrived, but changed");
    }
}

/// A member that changes what it received.
#[derive(Debug)]
struct Editor;

impl Consumer for Editor {
    fn groups(&self) -> Vec<GroupName> {
        vec![group("room")]
    }
}

#[event_handlers]
impl Editor {
    async fn note(&mut self, event: Arc<Note>, ctx: &mut Context) -> Result<()> {
        let mut event = event;
        let event = Arc::make_mut(&mut event);
        event.number += 1;
        ctx.send_text(event.number.to_string())
    }
}

/// Rule 33: if one receiver changes a message, no other receiver sees it. Channels hands the same `dict` to all.
pub async fn rule_33_receivers_do_not_see_each_others_changes<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let (room, jobs) = (group("room"), queue::<S>(&layer, "jobs").await);
    layer.group_add(&room, &jobs).await.unwrap();
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Editor))).unwrap().layer(layer.clone());
    let mut editors = Vec::new();
    for _ in 0..2 {
        let mut editor = WebsocketCommunicator::new(&mount, "/");
        editor.connect().await.unwrap();
        editors.push(editor);
    }
    layer.group_send(&room, note(1)).await.unwrap();
    for editor in &mut editors {
        assert_eq!(editor.receive_text().await.unwrap(), "2", "each editor adds one to what was sent");
    }
    assert_eq!(next_note(&layer, &jobs).await, 1);
    for editor in editors {
        editor.disconnect().await;
    }
}
