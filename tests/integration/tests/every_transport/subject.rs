//! The consumer of the cases, which does as it is told, and a server with it.

use greenroom::{
    Accept, Fallback, Limits, Mount,
    error::{DenyConnection, StopConsumer},
    middleware::Rejection,
    prelude::*,
    testing::LiveServer,
};
use integration_tests::{
    Gate, Log, PATIENCE,
    clients::{Opened, Refused, TestClient},
};
use tokio::time::timeout;

#[derive(Clone, Serialize, Deserialize, Event)]
struct Told {
    what: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Relayed {
    text: String,
}

/// Does as its messages and events say, and notes how its connection ended.
#[derive(Clone, Default)]
struct Subject {
    log: Log,
    gate: Gate,
    heard: u32,
}

impl Subject {
    async fn act(&mut self, what: &str, ctx: &Context) -> Result<()> {
        match what.split_once(':').unwrap_or((what, "")) {
            ("close", "") => ctx.close(),
            ("close", code) => ctx.close_with(code.parse::<u16>()?, "as asked")?,
            ("send behind the close", _) => {
                ctx.close();
                ctx.send_text("late")?;
            }
            ("error", _) => Err(std::io::Error::other("as asked"))?,
            ("panic", _) => panic!("as asked"),
            ("stop", _) => Err(StopConsumer)?,
            ("json", text) => drop(Message::Text(text.into()).json::<u32>()?),
            ("hang", _) => self.gate.pass().await,
            ("group", text) => {
                ctx.group_send(&subjects(), Relayed { text: text.to_owned() }).await?;
            }
            ("others", text) => {
                ctx.group_send_others(&subjects(), Relayed { text: text.to_owned() }).await?;
            }
            ("count", _) => {
                self.heard += 1;
                ctx.send_text(self.heard.to_string())?;
            }
            ("scope", _) => {
                let scope = ctx.scope();
                ctx.send_json(&(scope.path(), scope.query_string(), scope.param_str("name")))?;
            }
            ("much", size) => ctx.send_text("x".repeat(size.parse()?))?,
            ("stream", parts) => {
                for number in 0..parts.parse::<usize>()? {
                    ctx.ready().await?;
                    ctx.send_text(format!("{number:020000}"))?;
                }
            }
            ("stream in a task", parts) => {
                let (handle, parts) = (ctx.handle(), parts.parse::<usize>()?);
                ctx.spawn(async move {
                    for number in 0..parts {
                        if handle.ready().await.is_err() || handle.send(format!("{number:020000}")).is_err() {
                            return;
                        }
                    }
                })?;
            }
            ("note", text) => self.log.note(text),
            _ => ctx.send_text(what.to_owned())?,
        }
        Ok(())
    }
}

impl Consumer for Subject {
    fn groups(&self) -> Vec<GroupName> {
        vec![subjects()]
    }

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        match ctx.scope().query_param("connect").as_deref() {
            Some("reject") => ctx.reject(Rejection::new(402, "pay first")?)?,
            Some("deny") => Err(DenyConnection)?,
            Some("error") => Err(std::io::Error::other("as asked"))?,
            Some("panic") => panic!("as asked"),
            Some("nothing") => {}
            Some("subprotocol") => ctx.accept_with(Accept::new().subprotocol("v2"))?,
            Some("slowly") => {
                self.gate.pass().await;
                ctx.accept()?;
                ctx.send_text("first")?;
            }
            _ => ctx.accept()?,
        }
        Ok(())
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message {
            Message::Binary(bytes) => ctx.send_bytes(bytes),
            Message::Text(text) => self.act(&text, ctx).await,
        }
    }

    async fn disconnect(&mut self, reason: Disconnect, _: &mut Context) {
        self.log.note(format!("{} {:?} {:?}", u16::from(reason.code), reason.cause, &*reason.reason));
    }
}

#[event_handlers]
impl Subject {
    async fn told(&mut self, event: &Told, ctx: &mut Context) -> Result<()> {
        self.act(&event.what, ctx).await
    }

    #[relay]
    fn relayed(event: &Relayed) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

/// Sends the double of each number that it gets.
#[derive(NoEvents)]
struct Doubler;

impl JsonConsumer for Doubler {
    type Input = u32;

    async fn receive_json(&mut self, input: u32, ctx: &mut Context) -> Result<()> {
        ctx.send_json(&(input * 2))
    }
}

fn subjects() -> GroupName {
    GroupName::new("subjects").unwrap()
}

pub(super) struct Fixture {
    pub(super) mount: Mount,
    pub(super) server: LiveServer,
    pub(super) log: Log,
    pub(super) gate: Gate,
}

impl Fixture {
    pub(super) fn new(limits: Limits) -> Self {
        Self::with(limits, Fallback::new())
    }

    pub(super) fn with(limits: Limits, fallback: Fallback) -> Self {
        let subject = Subject::default();
        let (log, gate) = (subject.log.clone(), subject.gate.clone());
        let routes = UrlRouter::new()
            .route("/doubler", |_: &Scope| Ok(Doubler))
            .route("/s/{name}", move |_: &Scope| Ok(subject.clone()));
        let mount = Mount::new(routes).unwrap().limits(limits).fallback(fallback);
        let server = LiveServer::start(&mount, 2).unwrap();
        Self { mount, server, log, gate }
    }

    pub(super) async fn open<C: TestClient>(&self) -> C {
        self.try_open("/s/x", &[]).await.expect("the consumer accepts").client
    }

    pub(super) async fn try_open<C: TestClient>(
        &self,
        path: &str,
        protocols: &[&str],
    ) -> Result<Opened<C>, Refused> {
        C::open(self.server.address(), path, protocols).await
    }

    pub(super) async fn tell(&self, what: &str) {
        let told = Told { what: what.to_owned() };
        self.mount.default_layer().group_send(&subjects(), &told).await.unwrap();
    }

    pub(super) async fn relay(&self, text: &str) {
        let relayed = Relayed { text: text.to_owned() };
        self.mount.default_layer().group_send(&subjects(), &relayed).await.unwrap();
    }

    /// Waits until no connection is left, and returns all notes.
    pub(super) async fn ended(&self) -> Vec<String> {
        timeout(PATIENCE, self.server.wait_until_empty()).await.expect("an end in time");
        assert_eq!(
            self.mount.default_layer().backend().groups().group_count(),
            0,
            "all connections have left their groups"
        );
        self.log.lines()
    }
}
