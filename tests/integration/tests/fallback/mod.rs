//! Clients without a WebSocket, which use plain HTTP over real sockets.

mod client;
mod ends;
mod limits;
mod origins;
mod places;
mod refusals;
mod resend;
mod talk;

use std::time::Duration;

use greenroom::{
    Fallback, GroupName, Mount, Outgoing, Transport, close::Disconnect, prelude::*, testing::LiveServer,
};
use tokio::sync::mpsc;

/// An event that a hook of a consumer has seen.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Connect,
    Heard(Message),
    Disconnect(Disconnect),
}

/// Sends messages back. The first word of a text may be a command.
struct Guest {
    seen: mpsc::UnboundedSender<Seen>,
    room: GroupName,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

impl Guest {
    fn note(&self, seen: Seen) {
        // The test may be over.
        let _ = self.seen.send(seen);
    }
}

impl Consumer for Guest {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        self.note(Seen::Connect);
        ctx.group_add(&self.room).await?;
        ctx.accept()
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        self.note(Seen::Heard(message.clone()));
        let text = match message {
            Message::Binary(bytes) => return ctx.send_bytes(bytes),
            Message::Text(text) => text,
        };
        match text.split_once(' ').unwrap_or((&text, "")) {
            ("close", code) => ctx.close_with(code.parse::<u16>()?, "as asked"),
            ("fail", _) => Err(greenroom::Error::msg("as asked")),
            ("fill", count) => (0..count.parse::<usize>()?).try_for_each(|_| ctx.send_text("x".repeat(1024))),
            ("block", millis) => {
                std::thread::sleep(Duration::from_millis(millis.parse()?));
                Ok(())
            }
            ("hang", _) => std::future::pending().await,
            ("room", said) => ctx.group_send(&self.room, Said { text: said.to_owned() }).await,
            ("transport", _) => ctx.send_text(match ctx.transport() {
                Transport::EventStream => "events",
                Transport::LongPolling => "long polling",
                Transport::Polling => "polling",
                _ => "another",
            }),
            _ => ctx.send_text(text),
        }
    }

    async fn disconnect(&mut self, reason: Disconnect, _: &mut Context) {
        self.note(Seen::Disconnect(reason));
    }
}

#[event_handlers]
impl Guest {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

/// Rejects everyone.
#[derive(NoEvents)]
struct Bouncer;

impl Consumer for Bouncer {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.reject(greenroom::middleware::Rejection::new(418, "no tea")?.header("x-why", "not you")?)
    }
}

/// A mount with a room, and the events that its consumers see.
fn mount(settings: Fallback) -> (Mount, mpsc::UnboundedReceiver<Seen>) {
    let (sender, seen) = mpsc::unbounded_channel();
    let room = move |_: &Scope| Ok(Guest { seen: sender.clone(), room: GroupName::new("room")? });
    let routes = UrlRouter::new().route("/room/", room).route("/door/", |_: &Scope| Ok(Bouncer));
    (Mount::new(routes).expect("good routes").fallback(settings), seen)
}

fn serve(settings: Fallback) -> (LiveServer, mpsc::UnboundedReceiver<Seen>) {
    let (mount, seen) = mount(settings);
    (LiveServer::start(&mount, 2).expect("a server"), seen)
}

/// Waits for a `disconnect`, and skips all events before it.
async fn end_of(seen: &mut mpsc::UnboundedReceiver<Seen>) -> Disconnect {
    loop {
        match seen.recv().await.expect("the server runs") {
            Seen::Disconnect(how) => return how,
            Seen::Connect | Seen::Heard(_) => {}
        }
    }
}

fn short() -> Fallback {
    Fallback::new().expires(Duration::from_secs(1))
}
