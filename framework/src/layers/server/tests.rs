//! Tests of the layer with a server that is part of the test. Its driver is the shortest one.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    runtime::Builder,
    select,
    sync::{
        OwnedSemaphorePermit, broadcast,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    time::timeout,
};

use super::{
    Away, ServerConfig, ServerLayer,
    driver::{Driver, InboundSenderOf, Publication, local_first},
    layer::start,
    outage::Outage,
    shared::{Changes, Shared},
};
use crate::{
    ChannelName, Delivery, Envelope, Event, EventError, GroupName, LayerError,
    event::{Format, wire::except},
    layers::{ChannelLayer, Groups},
};

/// A server that passes on what is published while it is open.
#[derive(Debug, Clone)]
struct Office {
    open: watch::Sender<bool>,
    /// The publications: the publishing process, the group, and the event.
    published: broadcast::Sender<(String, GroupName, Bytes)>,
}

#[derive(Debug)]
struct Postman {
    office: Office,
    name: String,
    operations: UnboundedSender<Publication>,
}

impl Office {
    fn new() -> Self {
        Self { open: watch::Sender::new(true), published: broadcast::Sender::new(1_000) }
    }

    fn layer(&self, set: impl FnOnce(ServerConfig<()>) -> ServerConfig<()>) -> ServerLayer<Postman> {
        let config = set(ServerConfig::with_backend((), "post"));
        let groups = Groups::watched(config.common.layer.clone());
        let (operations, receiver) = unbounded_channel();
        let driver = Postman { office: self.clone(), name: groups.directory().process.clone(), operations };
        start(config.common, groups, ["the office".to_owned()], driver, receiver).unwrap()
    }

    /// Opens or closes the office, and waits until a layer has noticed.
    async fn set_open(&self, open: bool, layer: &ServerLayer<Postman>) {
        self.open.send_if_modified(|is_open| std::mem::replace(is_open, open) != open);
        while layer.is_connected() != open {
            tokio::task::yield_now().await;
        }
    }
}

impl Driver for Postman {
    type Operation = Publication;
    type Source = GroupName;
    type Over = ();

    const SERVER: &'static str = "The office";
    const THREADS: [&'static str; 2] = ["post", "post-in"];

    fn start(
        shared: Arc<Shared<Self>>,
        inbox: InboundSenderOf<Self>,
        operations: UnboundedReceiver<Publication>,
    ) -> io::Result<impl FnOnce() + Send + 'static> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(move || runtime.block_on(carry(&shared, &inbox, operations)))
    }

    fn operations(&self) -> &UnboundedSender<Publication> {
        &self.operations
    }

    fn encode(&self, envelope: &Envelope, except: &[ChannelName]) -> Result<Bytes, EventError> {
        except::write(
            Format::MsgPack,
            envelope.to_wire(Format::MsgPack)?,
            except.iter().map(|name| name.as_str()),
        )
    }

    async fn publish(
        shared: &Shared<Self>,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        local_first(shared, group, except, envelope, count, |publication| publication).await
    }

    async fn send(_: &Shared<Self>, _: &ChannelName, _: Bytes) -> Result<(), LayerError> {
        Err(LayerError::NoReceiver)
    }

    async fn receive(shared: &Shared<Self>, channel: &ChannelName) -> Result<Envelope, LayerError> {
        shared.groups.receive(channel).await
    }

    async fn deliver(shared: &Shared<Self>, bytes: Bytes, group: GroupName, _: OwnedSemaphorePermit) {
        let (bytes, except) = except::read(Format::MsgPack, bytes);
        let except = ChannelName::of_texts(except);
        match Envelope::from_wire(Format::MsgPack, bytes) {
            Ok(envelope) => drop(shared.groups.publish_except(&group, &except, envelope, false).await),
            Err(error) => shared.log_undecodable(&group, &error),
        }
    }
}

/// The work of the driver's thread, until the layer ends.
async fn carry(
    shared: &Shared<Postman>,
    inbox: &InboundSenderOf<Postman>,
    mut operations: UnboundedReceiver<Publication>,
) {
    let Postman { office, name, .. } = &shared.driver;
    let mut outage = Outage::new(&shared.status, 0);
    let mut open = office.open.subscribe();
    loop {
        outage.pause().await;
        if !*open.borrow_and_update() {
            select! {
                () = shared.stop.notified() => return,
                _ = open.changed() => {}
            }
        }
        let mut heard = office.published.subscribe();
        shared.members.settle(&shared.members.all(|_| true));
        if let Some(away) = outage.found() {
            shared.tell_gap(inbox, shared.members.groups(|_| true), away).await;
        }
        loop {
            select! {
                () = shared.stop.notified() => return,
                _ = open.changed() => break,
                changed = shared.groups.changed() => {
                    let Changes { joined, .. } = shared.note_changes(changed);
                    shared.members.settle(&joined);
                }
                Some(publication) = operations.recv() => {
                    let Publication { group, event, reply, .. } = publication;
                    let _ = office.published.send((name.clone(), group, event));
                    if let Some(reply) = reply {
                        let _ = reply.send(Ok(Delivery::default()));
                    }
                }
                Ok((by, group, event)) = heard.recv() => {
                    if by != *name && shared.members.is_settled(&group).is_some() && !inbox.offer(event, group) {
                        shared.counters().inbound_full.one();
                    }
                }
            }
        }
        outage.lost("it is closed".to_owned());
        shared.members.unsettle(|_| true);
    }
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, Event)]
#[event("note")]
struct Letter {
    text: String,
}

fn note(text: &str) -> Envelope {
    Envelope::new(Letter { text: text.to_owned() })
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

/// Adds a queue of the layer's process to the room.
async fn member(layer: &ServerLayer<Postman>) -> ChannelName {
    layer.ready().await.unwrap();
    let queue = layer.new_channel("specific.").await.unwrap();
    layer.group_add(&room(), &queue).await.unwrap();
    queue
}

/// The text of the next event, or its name if it is not a letter.
async fn next(layer: &ServerLayer<Postman>, queue: &ChannelName) -> String {
    let received = timeout(Duration::from_secs(20), layer.receive(queue)).await.expect("in time").unwrap();
    match received.event::<Letter>() {
        Ok(note) => note.text.clone(),
        Err(_) => received.name().to_owned(),
    }
}

#[actix_web::test]
async fn each_process_gets_an_event_once() {
    let office = Office::new();
    let (here, there) = (office.layer(|config| config), office.layer(|config| config));
    let (mine, theirs) = (member(&here).await, member(&there).await);
    for text in ["a", "b"] {
        here.group_send(&room(), note(text)).await.unwrap();
        there.group_send_counted(&room(), note("back")).await.unwrap();
        assert_eq!((next(&here, &mine).await.as_str(), next(&here, &mine).await.as_str()), (text, "back"));
    }
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(next(&there, &theirs).await);
    }
    heard.sort_unstable();
    assert_eq!(heard, ["a", "b", "back", "back"]);
    here.group_send(&room(), note("last")).await.unwrap();
    assert_eq!(next(&there, &theirs).await, "last");
}

#[actix_web::test]
async fn a_channel_is_left_out_in_its_own_process_and_in_another() {
    let office = Office::new();
    let (here, there) = (office.layer(|config| config), office.layer(|config| config));
    let (mine, theirs) = (member(&here).await, member(&there).await);
    for (layer, except) in [(&here, &mine), (&here, &theirs), (&there, &mine), (&there, &theirs)] {
        let except = std::slice::from_ref(except);
        layer.group_send_except(&room(), except, note(&except[0]), false).await.unwrap();
    }
    // No order is promised between the two senders.
    let heard = async |layer, queue| {
        let mut heard = [next(layer, queue).await, next(layer, queue).await];
        heard.sort_unstable();
        heard
    };
    assert_eq!(heard(&here, &mine).await, [theirs.as_str(), theirs.as_str()]);
    assert_eq!(heard(&there, &theirs).await, [mine.as_str(), mine.as_str()]);
    // Nothing else has come.
    here.group_send(&room(), note("last")).await.unwrap();
    assert_eq!((next(&here, &mine).await, next(&there, &theirs).await), ("last".into(), "last".into()));
}

#[actix_web::test]
async fn members_are_served_while_the_server_is_away_and_learn_of_the_gap() {
    let office = Office::new();
    let (here, there) = (office.layer(|config| config), office.layer(|config| config.away(Away::Error)));
    let (mine, theirs) = (member(&here).await, member(&there).await);
    office.set_open(false, &here).await;
    office.set_open(false, &there).await;
    here.group_send(&room(), note("local")).await.unwrap();
    assert_eq!(next(&here, &mine).await, "local");
    assert_eq!(here.groups().metrics().unpublished, 1);
    let refused = there.group_send(&room(), note("nobody gets it")).await;
    assert_eq!(refused, Err(LayerError::Unavailable("the office: it is closed".to_owned())));
    office.set_open(true, &here).await;
    office.set_open(true, &there).await;
    assert_eq!(next(&here, &mine).await, "layer.gap");
    assert_eq!(next(&there, &theirs).await, "layer.gap");
    there.group_send(&room(), note("after")).await.unwrap();
    assert_eq!((next(&here, &mine).await, next(&there, &theirs).await), ("after".into(), "after".into()));
}

#[actix_web::test]
async fn a_large_message_is_refused_before_anybody_gets_it() {
    let office = Office::new();
    let layer = office.layer(|config| config.queue_bytes(64 << 10));
    let mine = member(&layer).await;
    let sent = layer.group_send(&room(), note(&"x".repeat(64 << 10))).await;
    assert!(matches!(sent, Err(LayerError::MessageTooLarge { limit: 65_536, .. })), "{sent:?}");
    layer.group_send(&room(), note("small")).await.unwrap();
    assert_eq!(next(&layer, &mine).await, "small");
}

#[actix_web::test]
async fn a_closed_layer_serves_its_own_members() {
    let office = Office::new();
    let layer = office.layer(|config| config);
    let mine = member(&layer).await;
    layer.close().await;
    assert!(!layer.is_connected());
    let ended = layer.ready().await.unwrap_err().to_string();
    assert!(ended.contains("the layer has ended"), "{ended}");
    layer.group_send(&room(), note("local")).await.unwrap();
    assert_eq!(next(&layer, &mine).await, "local");
    let another = ChannelName::new("specific.another12345!x").unwrap();
    assert_eq!(layer.group_add(&room(), &another).await, Err(LayerError::NoReceiver));
    assert_eq!(layer.group_discard(&room(), &another).await, Ok(()));
}

/// A caller that gives up has sent to everybody or to nobody.
#[actix_web::test]
async fn a_send_that_is_given_up_reaches_all_processes_or_none() {
    let office = Office::new();
    let (here, there) = (office.layer(|config| config.queue_bytes(64 << 10)), office.layer(|config| config));
    let (mine, theirs) = (member(&here).await, member(&there).await);
    let room_taken = here.shared.room_for(64 << 10).await.unwrap();
    let group = room();
    let given_up = here.group_send(&group, note("given up"));
    assert!(timeout(Duration::from_millis(20), given_up).await.is_err(), "it waits for room");
    drop(room_taken);
    here.group_send(&room(), note("sent")).await.unwrap();
    assert_eq!((next(&here, &mine).await, next(&there, &theirs).await), ("sent".into(), "sent".into()));
    assert_eq!(here.groups().metrics().unpublished, 0);
}
