//! Bad input from a client, over a real socket. The client is told why it is refused, and its neighbours notice nothing.

mod consumers;
mod cookies;
mod endings;
mod frames;
mod limits;

use std::sync::Arc;

use greenroom::{
    Error, Layer, Limits, Mount,
    close::{Cause, Disconnect},
    prelude::*,
    testing::LiveServer,
};
use integration_tests::{Client, PATIENCE, log, raw::Raw};
use tokio::{
    sync::{
        Notify,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
    },
    time::timeout,
};

/// The largest message on the path `/small/`.
const SMALL: usize = 1000;

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

/// A member of the room. It first sends its channel name. Then it sends each text that it gets to the whole room.
struct Member {
    ended: UnboundedSender<Disconnect>,
    /// The command `wait` waits for this gate.
    gate: Arc<Notify>,
}

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        vec![room()]
    }

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        ctx.send_text(ctx.channel_name().as_str())
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message.as_text() {
            Some("wait") => {
                self.gate.notified().await;
                ctx.send_text("waited")
            }
            Some("close") => {
                ctx.close();
                Ok(())
            }
            Some("fail") => Err(Error::msg("the hook failed on purpose")),
            Some("panic") => panic!("the hook panicked on purpose"),
            Some(text) => match text.strip_prefix("join ") {
                Some(name) => ctx.group_add(&GroupName::new(name)?).await,
                None => ctx.group_send(&room(), Said { text: text.to_owned() }).await,
            },
            None => ctx.send_text(format!("{} bytes", message.as_bytes().len())),
        }
    }

    async fn disconnect(&mut self, reason: Disconnect, _ctx: &mut Context) {
        let _ = self.ended.send(reason);
    }
}

#[event_handlers]
impl Member {
    async fn said(&mut self, event: &Said, ctx: &mut Context) -> Result<()> {
        ctx.send_text(event.text.as_str())
    }
}

fn room() -> GroupName {
    GroupName::new("room").expect("a good name")
}

/// One room with a neighbour, which must never notice anything.
struct Room {
    server: LiveServer,
    layer: Layer,
    neighbour: Client,
    ended: UnboundedReceiver<Disconnect>,
    gate: Arc<Notify>,
}

impl Room {
    async fn open() -> Self {
        Self::with(UrlRouter::new()).await
    }

    /// A room beside more routes.
    async fn with(routes: UrlRouter) -> Self {
        log::capture();
        let (sender, ended) = mpsc::unbounded_channel();
        let gate = Arc::new(Notify::new());
        let member = {
            let gate = Arc::clone(&gate);
            move |_: &Scope| Ok(Member { ended: sender.clone(), gate: Arc::clone(&gate) })
        };
        let routes = routes.route("/room/", member.clone()).route_with(
            "/small/",
            Limits::new().message_size(SMALL),
            member,
        );
        let mount = Mount::new(routes).expect("good routes");
        let server = LiveServer::start(&mount, 1).expect("a free port");
        let mut neighbour = Client::connect(&server, "/room/").await;
        neighbour.text().await;
        Self { layer: mount.default_layer().clone(), server, neighbour, ended, gate }
    }

    /// Connects a client to the room. Returns the client and its channel name, which the log uses.
    async fn enter(&self) -> (Raw, String) {
        self.enter_by("/room/").await
    }

    async fn enter_by(&self, path: &str) -> (Raw, String) {
        let mut client = Raw::connect(self.server.address(), path).await;
        let channel = client.next_text().await;
        (client, channel)
    }

    /// Waits until a connection has ended, and says how.
    async fn ended(&mut self) -> Disconnect {
        timeout(PATIENCE, self.ended.recv()).await.expect("an end in time").expect("the server runs")
    }

    /// Checks that the neighbour hears others and itself, and nothing else, and that the room has this many members.
    async fn lives(&mut self, members: u64) {
        let event = Said { text: "to all".to_owned() };
        let delivery = self.layer.group_send_counted(&room(), &event).await.expect("the layer lives");
        assert_eq!((delivery.delivered, delivery.dropped), (members, 0));
        assert_eq!(self.neighbour.text().await, "to all");
        self.neighbour.send("I am here").await;
        assert_eq!(self.neighbour.text().await, "I am here");
    }

    /// Checks that a client that sends `bytes` is closed with this code and reason, that the log has both, and that the
    /// room lives on.
    async fn refuses(mut self, path: &str, bytes: &[u8], code: u16, reason: &str) {
        let (mut client, channel) = self.enter_by(path).await;
        client.send(bytes).await;
        assert_eq!(client.close_frame().await, (code, reason.to_owned()));
        client.ended().await;
        assert_eq!(self.ended().await, Disconnect::new(code, reason, Cause::Protocol));
        log::logged(&[&channel, &code.to_string(), reason]).await;
        self.lives(1).await;
    }
}

/// Checks that a client of `/room/` that sends `bytes` is refused.
async fn refused(bytes: &[u8], code: u16, reason: &str) {
    Room::open().await.refuses("/room/", bytes, code, reason).await;
}
