//! A consumer that tells its client which events it gets.

use greenroom::{ChannelName, Layer, Mount, layers::LayerGap, prelude::*, testing::WebsocketCommunicator};
use integration_tests::PATIENCE;

/// A small event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event("note")]
pub struct Note {
    /// Tells this note from others.
    pub number: u64,
}

/// The note with this number.
#[must_use]
pub fn note(number: u64) -> Note {
    Note { number }
}

/// The name of a group.
///
/// # Panics
/// If the name is invalid.
#[must_use]
pub fn group(name: &str) -> GroupName {
    GroupName::new(name).expect("a valid name")
}

struct Listener(Vec<GroupName>);

impl Consumer for Listener {
    fn groups(&self) -> Vec<GroupName> {
        self.0.clone()
    }
}

#[event_handlers]
impl Listener {
    async fn note(&mut self, note: &Note, ctx: &mut Context) -> Result<()> {
        ctx.send_text(note.number.to_string())
    }

    async fn layer_gap(&mut self, gap: &LayerGap, ctx: &mut Context) -> Result<()> {
        ctx.send_text(format!("gap in {}", gap.group))
    }
}

/// The client of a consumer in some groups. It gets the number of each note, and a text for each gap.
#[derive(Debug)]
pub struct Member(WebsocketCommunicator);

impl Member {
    /// Connects a member of these groups, on this thread.
    ///
    /// # Panics
    /// If the consumer does not accept.
    pub async fn of(layer: &Layer, groups: &[&str]) -> Self {
        let groups: Vec<_> = groups.iter().map(|name| group(name)).collect();
        let routes = UrlRouter::new().route("/", move |_: &Scope| Ok(Listener(groups.clone())));
        Self::connect(&Mount::new(routes).expect("a route").layer(layer.clone())).await
    }

    /// Connects to the consumer at `/` of a mount that the test has made.
    ///
    /// # Panics
    /// If the consumer does not accept.
    pub async fn connect(mount: &Mount) -> Self {
        let mut client = WebsocketCommunicator::new(mount, "/").timeout(PATIENCE);
        client.connect().await.expect("the consumer accepts");
        Self(client)
    }

    /// The channel of the consumer.
    ///
    /// # Panics
    /// If the consumer has ended.
    #[must_use]
    pub fn channel(&self) -> ChannelName {
        self.0.channel_name().expect("the consumer is connected")
    }

    /// Waits for the next text that the client gets.
    ///
    /// # Panics
    /// If no text comes in time.
    pub async fn hears(&mut self) -> String {
        self.0.receive_text().await.unwrap_or_else(|error| panic!("nothing heard: {error}"))
    }

    /// Disconnects the client.
    pub async fn leave(self) {
        self.0.disconnect().await;
    }
}
