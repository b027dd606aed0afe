//! A process whose clients are told their places, for layers that keep the groups' events.

use std::time::Duration;

use greenroom::{
    Layer, Mount,
    consumer::Resumed,
    history::{Outcome, Since},
    layers::LayerGap,
    prelude::*,
    testing::LiveServer,
};
use integration_tests::{
    Client,
    history::{Memory, Reader},
};
use tokio::time::timeout;

use crate::faulty::{Note, group, note};

/// An event that no log keeps.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event("hint", transient)]
pub struct Hint {
    /// Tells this hint from others.
    pub number: u64,
}

/// A consumer that tells its client what it gets.
struct Listener {
    group: GroupName,
    since: Since,
}

impl Consumer for Listener {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        match self.since {
            // The group may have no log.
            Since::Now => ctx.group_add(&self.group).await,
            since => match ctx.group_add_since(&self.group, since).await? {
                Outcome::Recovered => Ok(()),
                Outcome::Lost(reason) => ctx.send_text(format!("lost {reason}")),
            },
        }
    }

    /// Sends the note with this number to all others, or joins the group with this name, and gives up if that takes long.
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let text = message.text()?;
        if let Ok(number) = text.parse() {
            ctx.group_send_others(&self.group, note(number)).await?;
            return ctx.send_text("sent");
        }
        let group = GroupName::new(text)?;
        let joined = timeout(Duration::from_millis(100), ctx.group_add(&group)).await;
        ctx.send_text(if joined.is_ok() { "joined" } else { "gave up" })
    }

    async fn resume(&mut self, _: &Resumed, _: &mut Context) -> Result<()> {
        Ok(())
    }
}

#[event_handlers]
impl Listener {
    #[relay]
    fn note(note: &Note) -> Outgoing {
        Outgoing::text(note.number.to_string())
    }

    #[relay]
    fn hint(hint: &Hint) -> Outgoing {
        Outgoing::text(format!("hint {}", hint.number))
    }

    async fn layer_gap(&mut self, gap: &LayerGap, ctx: &mut Context) -> Result<()> {
        ctx.send_text(format!("gap in {}", gap.group))
    }
}

/// A process: a layer, and a server for its clients at `/<group>/`. With `?last=n` a client gets the last ones first. It may
/// name another group, to join that too.
#[derive(Debug)]
pub struct Process {
    /// The layer.
    pub layer: Layer,
    server: LiveServer,
}

impl Process {
    /// Starts a server with this layer.
    ///
    /// # Panics
    /// If no port is free.
    pub fn of(layer: Layer) -> Self {
        let make = |scope: &Scope| {
            let group = GroupName::new(scope.param::<String>("group")?)?;
            let last = scope
                .query_string()
                .strip_prefix("last=")
                .and_then(|last| last.split('&').next()?.parse().ok());
            Ok(Listener { group, since: last.map_or(Since::Now, Since::Last) })
        };
        let mount = Mount::new(UrlRouter::new().route("/{group}/", make)).expect("a route");
        let server = LiveServer::start(&mount.layer(layer.clone()), 2).expect("a free port");
        Self { layer, server }
    }

    /// Connects a client for the first time.
    pub async fn join(&self, path: &str) -> Reader {
        Reader::new(&self.server, path).await
    }

    /// Connects a client that knows nothing of places.
    pub async fn plain(&self, path: &str) -> Client {
        Client::connect(&self.server, path).await
    }

    /// Connects a client that goes on from what it has heard.
    pub async fn back(&self, path: &str, memory: Memory) -> Reader {
        Reader::again(&self.server, path, memory).await
    }

    /// Sends the notes with these numbers to the group `room`, one after the other.
    ///
    /// # Panics
    /// If a send fails.
    pub async fn send(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.layer.group_send(&group("room"), note(number)).await.expect("the layer sends");
        }
    }
}

/// What a client gets of the notes with these numbers.
pub fn texts(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

/// All members of all processes get the events of all senders in one order, each once. Each process sends so many, at once.
///
/// # Panics
/// If they do not.
pub async fn assert_one_order(first: &Process, second: &Process, each: u64) {
    let (mut one, mut two) = (first.join("/room/").await, second.join("/room/").await);
    tokio::join!(one.joined(), two.joined());
    let sent = async { tokio::join!(first.send(0..each), second.send(10_000..10_000 + each)) };
    let heard = async { tokio::join!(one.texts(2 * each as usize), two.texts(2 * each as usize)) };
    let (_, (one, two)) = tokio::join!(sent, heard);
    assert_eq!(one, two);
    let mut sorted = one.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), one.len(), "each once");
    let of_first: Vec<_> = one.into_iter().filter(|text| text.len() < 5).collect();
    assert_eq!(of_first, texts(0..each), "a sender's events keep their order");
}
