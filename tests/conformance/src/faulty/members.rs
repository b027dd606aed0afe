//! A consumer that tells its client what it hears.

use greenroom::{
    ChannelName, Layer, Mount,
    layers::LayerGap,
    prelude::*,
    testing::{CommunicatorError, WebsocketCommunicator},
};
use integration_tests::PATIENCE;

/// A small event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event("note")]
pub struct Note {
    /// Tells it from others.
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
/// Where it is none.
#[must_use]
pub fn group(name: &str) -> GroupName {
    GroupName::new(name).expect("a name")
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

/// The client of a consumer in some groups: it is told the number of each note, and of each gap.
#[derive(Debug)]
pub struct Member(WebsocketCommunicator);

impl Member {
    /// Connects one, in this thread.
    ///
    /// # Panics
    /// Where it is not accepted.
    pub async fn of(layer: &Layer, groups: &[&str]) -> Self {
        let groups: Vec<_> = groups.iter().map(|name| group(name)).collect();
        let routes = UrlRouter::new().route("/", move |_: &Scope| Ok(Listener(groups.clone())));
        Self::connect(&Mount::new(routes).expect("a route").layer(layer.clone())).await
    }

    /// Connects a consumer of the test's own, at `/`.
    ///
    /// # Panics
    /// Where it is not accepted.
    pub async fn connect(mount: &Mount) -> Self {
        let mut client = WebsocketCommunicator::new(mount, "/");
        client.connect().await.expect("it accepts");
        Self(client)
    }

    /// Its channel.
    ///
    /// # Panics
    /// Where it has gone.
    #[must_use]
    pub fn channel(&self) -> ChannelName {
        self.0.channel_name().expect("it is connected")
    }

    /// What it hears next.
    ///
    /// # Panics
    /// Where it hears nothing in time.
    pub async fn hears(&mut self) -> String {
        // The communicator waits for a second each time.
        for _ in 0..PATIENCE.as_secs() {
            match self.0.receive_text().await {
                Ok(text) => return text,
                Err(CommunicatorError::Timeout) => {}
                Err(error) => panic!("nothing heard: {error}"),
            }
        }
        panic!("nothing heard in time")
    }

    /// Disconnects it.
    pub async fn leave(self) {
        self.0.disconnect().await;
    }
}
