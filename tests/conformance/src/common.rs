//! Parts that the cases share: events, members, and waits with a time limit.

use std::sync::Arc;

use greenroom::{
    ChannelName, Envelope, Layer, LayerConfig, LayerError, Mount,
    prelude::*,
    testing::{CommunicatorError, WebsocketCommunicator},
};
use integration_tests::PATIENCE;
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use crate::Server;

/// A small event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event("note")]
pub(crate) struct Note {
    pub(crate) sender: usize,
    pub(crate) number: u64,
}

/// The note with this number.
pub(crate) fn note(number: u64) -> Note {
    Note { sender: 0, number }
}

/// Starts a server, and makes one layer on it. The server must outlive the layer.
pub(crate) async fn one<S: Server>(config: LayerConfig) -> (S, Layer) {
    let server = S::start().await;
    let layer = server.make(config).await;
    (server, layer)
}

pub(crate) fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).expect("a valid name")
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::new(name).expect("a valid name")
}

/// A queue of one layer: a plain channel if the server stores messages, or else a channel of this process.
pub(crate) async fn queue<S: Server>(layer: &Layer, name: &str) -> ChannelName {
    if S::STORES { channel(name) } else { layer.new_channel().await.expect("a channel of this process") }
}

/// Waits for the next message of a queue.
pub(crate) async fn next(layer: &Layer, channel: &ChannelName) -> Envelope {
    let received = timeout(PATIENCE, layer.receive(channel)).await;
    received
        .unwrap_or_else(|_| panic!("no message came to {channel}"))
        .expect("the queue can be received from")
}

/// Checks that `layer` does not reach a channel of another layer.
///
/// If the server stores messages, it cannot know whether anyone reads the channel, and the send succeeds.
pub(crate) async fn assert_out_of_reach<S: Server>(layer: &Layer, channel: &ChannelName) {
    let expected = if S::ALONE || !S::STORES { Err(LayerError::NoReceiver) } else { Ok(()) };
    assert_eq!(layer.send(channel, note(0)).await, expected);
}

/// Waits until every earlier send has arrived or was refused, and is counted.
pub(crate) async fn settled(layer: &Layer) {
    layer.group_send_counted(&group("nobody"), note(0)).await.expect("the layer works");
}

/// Returns the error of a `receive` that must fail.
pub(crate) async fn refusal(layer: &Layer, channel: &ChannelName) -> LayerError {
    let received = timeout(PATIENCE, layer.receive(channel)).await;
    received
        .unwrap_or_else(|_| panic!("the receive from {channel} does not end"))
        .expect_err("the receive fails")
}

/// Waits for the next note of a queue.
pub(crate) async fn next_note(layer: &Layer, channel: &ChannelName) -> u64 {
    next(layer, channel).await.event::<Note>().expect("a note").number
}

/// Checks that a queue holds these notes and nothing else. It sends a last note, and reads up to it.
pub(crate) async fn assert_holds(layer: &Layer, channel: &ChannelName, notes: &[u64]) {
    const LAST: u64 = u64::MAX;
    let mut held = Vec::new();
    let mut sent = layer.send(channel, note(LAST)).await.is_ok();
    loop {
        let number = next_note(layer, channel).await;
        if number == LAST {
            break;
        }
        held.push(number);
        if !sent {
            // The queue was full.
            sent = layer.send(channel, note(LAST)).await.is_ok();
        }
    }
    assert_eq!(held, notes, "the notes that {channel} holds");
}

/// Checks that no group and no queue is left.
pub(crate) fn assert_nothing_left(layer: &Layer) {
    let groups = layer.backend().groups();
    assert_eq!((groups.group_count(), groups.queue_count()), (0, 0), "groups and queues that are left");
}

/// Runs `work` on a thread without a runtime, and waits for it.
pub(crate) async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = oneshot::channel();
    std::thread::spawn(move || sender.send(work()));
    timeout(PATIENCE, done).await.expect("the thread ends in time").expect("the thread does not panic")
}

/// A member of the group in its path. It sends its client the number of each note.
#[derive(Debug)]
struct Member {
    groups: Vec<GroupName>,
    gate: Arc<Notify>,
}

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        self.groups.clone()
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message.text()? {
            "hold" => {
                ctx.send_text("holding")?;
                self.gate.notified().await;
            }
            "block" => {
                let sent = ctx.layer().group_send_blocking(&group("room"), note(1));
                ctx.send_text(format!("{sent:?}"))?;
                let sent = ctx.layer().send_blocking(&ctx.channel_name(), note(1));
                ctx.send_text(format!("{sent:?}"))?;
            }
            command => {
                let number = command.strip_prefix("others ").and_then(|number| number.parse().ok());
                let number = number.unwrap_or_else(|| panic!("no such command: {command}"));
                let sent = ctx.group_send_others_counted(&group("room"), note(number)).await?;
                ctx.send_text(format!("{} got it, {} missed it", sent.delivered, sent.dropped))?;
            }
        }
        Ok(())
    }
}

#[event_handlers]
impl Member {
    async fn note(&mut self, note: &Note, ctx: &mut Context) -> Result<()> {
        ctx.send_text(note.number.to_string())
    }
}

/// Consumers of one layer, in this thread.
pub(crate) struct Members {
    mount: Mount,
    gate: Arc<Notify>,
}

impl Members {
    pub(crate) fn new(layer: &Layer) -> Self {
        let gate = Arc::new(Notify::new());
        let member = |groups: Vec<GroupName>, gate: &Arc<Notify>| Member { groups, gate: Arc::clone(gate) };
        let (alone, grouped) = (Arc::clone(&gate), Arc::clone(&gate));
        let routes = UrlRouter::new()
            .route("/", move |_: &Scope| Ok(member(Vec::new(), &alone)))
            .route("/{group}/", move |scope: &Scope| Ok(member(vec![scope.param("group")?], &grouped)));
        let mount = Mount::new(routes).expect("valid routes").layer(layer.clone());
        Self { mount, gate }
    }

    /// Connects a consumer that is in no group.
    pub(crate) async fn alone(&self) -> Client {
        self.connect("/").await
    }

    /// Connects a consumer that joins `group`.
    pub(crate) async fn of(&self, group: &str) -> Client {
        self.connect(&format!("/{group}/")).await
    }

    async fn connect(&self, path: &str) -> Client {
        let mut client = WebsocketCommunicator::new(&self.mount, path).timeout(PATIENCE);
        client.connect().await.expect("the member accepts");
        Client(client)
    }

    /// Lets a member go on after [`Client::hold`] has stopped it.
    pub(crate) fn release(&self) {
        self.gate.notify_one();
    }
}

/// The client of a member.
pub(crate) struct Client(pub(crate) WebsocketCommunicator);

impl Client {
    pub(crate) fn channel(&self) -> ChannelName {
        self.0.channel_name().expect("connected")
    }

    /// Stops the member in a hook, so that events wait in its inbox.
    pub(crate) async fn hold(&mut self) {
        self.0.send_text("hold");
        assert_eq!(self.hears().await.expect("the member holds"), "holding");
    }

    /// Checks that the member heard these notes and, so far, no other.
    pub(crate) async fn assert_hears(&mut self, notes: &[u64]) {
        for expected in notes {
            let heard = self.hears().await.unwrap_or_else(|error| panic!("not heard {expected}: {error}"));
            assert_eq!(heard, expected.to_string());
        }
    }

    /// Waits for what the member says next.
    pub(crate) async fn hears(&mut self) -> Result<String, CommunicatorError> {
        self.0.receive_text().await
    }

    pub(crate) async fn leave(self) {
        self.0.disconnect().await;
    }
}
