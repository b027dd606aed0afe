//! The connections to one Redis server.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, Value,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::{sync::Notify, time::timeout};

use super::{batch::said, config::RedisSettings, hello::Hello, hosts::RedisHost, sentinel};
use crate::layers::server::refusal::ServerRefusal;

/// How long the blocking command of a reader lasts. Its end shows that the connection works.
pub(super) const BLOCK: Duration = Duration::from_secs(5);

/// The connections to one server. It belongs to the driver's thread.
#[derive(Debug)]
pub(super) struct RedisLink {
    host: RedisHost,
    patience: Duration,
    /// A command that is refused as long as the layer cannot work, and that changes nothing.
    probe: Cmd,
    /// The connection for all commands except the blocking one.
    writer: RefCell<Option<MultiplexedConnection>>,
    /// Why the writer failed.
    failure: RefCell<Option<String>>,
    failed: Notify,
    /// Incremented at each new connection, so that late errors of an old one are ignored.
    generation: Cell<u64>,
}

impl RedisLink {
    /// Makes the links to all hosts. `patience` is the time that a server may take to answer.
    pub(super) fn all(settings: &RedisSettings, patience: Duration, probe: &Cmd) -> Vec<Self> {
        settings.hosts.iter().map(|host| Self::new(host.clone(), patience, probe.clone())).collect()
    }

    fn new(host: RedisHost, patience: Duration, probe: Cmd) -> Self {
        Self {
            host,
            patience,
            probe,
            writer: RefCell::default(),
            failure: RefCell::default(),
            failed: Notify::new(),
            generation: Cell::new(0),
        }
    }

    /// Connects the writer, and gives a client for the other connections.
    pub(super) async fn connect(&self) -> Result<Client, String> {
        let client = match &self.host {
            RedisHost::Server(url) => url.client()?,
            RedisHost::Sentinel { name, sentinels, master } => {
                sentinel::master(name, sentinels, master, self.patience).await?
            }
        };
        let mut writer = self.open(&client, self.patience).await?;
        self.check(&mut writer).await?;
        self.generation.set(self.generation.get() + 1);
        self.failure.take();
        self.writer.replace(Some(writer));
        Ok(client)
    }

    /// It is an error if the server does nothing for now, is not a master, or is of a kind on which a layer cannot work.
    ///
    /// A replica answers almost everything, but takes no writes, and what is published there reaches only its
    /// own clients. An address may lead to one after a failover.
    async fn check(&self, connection: &mut MultiplexedConnection) -> Result<(), String> {
        let mut commands = redis::pipe();
        // Each user may ask, except one whose rights leave out the connection commands.
        commands.cmd("HELLO").add_command(self.probe.clone());
        let replies = self.within(connection.send_packed_commands(&commands, 0, 2)).await?;
        let hello = Hello::read(replies.first().cloned().unwrap_or(Value::Nil));
        // A cluster without slots says that it is down, which would look as if it passed.
        hello.check_mode()?;
        for reply in &replies {
            if let Value::ServerError(error) = reply {
                let said = said(error);
                // A server that needs a password accepts a connection without one, and refuses the commands.
                if error.code() == "NOAUTH" || ServerRefusal::of_redis(&said) == ServerRefusal::Away {
                    return Err(said);
                }
            }
        }
        if hello.is_replica() { Err("it is a replica, and not the master".to_owned()) } else { Ok(()) }
    }

    /// Makes one more connection, whose commands may take as long as `answer`.
    pub(super) async fn open(
        &self,
        client: &Client,
        answer: Duration,
    ) -> Result<MultiplexedConnection, String> {
        open(client, self.patience, answer).await
    }

    /// Makes a connection for subscriptions.
    pub(super) async fn subscriber(&self, client: &Client) -> Result<PubSub, String> {
        within(self.patience, client.get_async_pubsub()).await
    }

    /// Waits for the answer of the server for as long as it may take.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = redis::RedisResult<T>>,
    ) -> Result<T, String> {
        within(self.patience, work).await
    }

    /// Whether the writer is connected.
    pub(super) fn is_connected(&self) -> bool {
        self.writer.borrow().is_some()
    }

    pub(super) fn disconnect(&self) {
        self.writer.take();
    }

    /// Runs commands, and gives their replies. The error of a single command is one of the replies.
    ///
    /// # Errors
    /// If the connection is lost, and why. Then [`failed`](Self::failed) also returns the reason.
    pub(super) async fn run(&self, commands: &Pipeline) -> Result<Vec<Value>, String> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let generation = self.generation.get();
        let writer = self.writer.borrow().clone();
        let Some(mut writer) = writer else { return Err("it is not connected".into()) };
        match writer.send_packed_commands(commands, 0, commands.len()).await {
            Ok(replies) => {
                for reply in &replies {
                    if let Value::ServerError(error) = reply
                        && ServerRefusal::of_redis(&said(error)) == ServerRefusal::Away
                    {
                        self.fail_as(generation, said(error));
                    }
                }
                Ok(replies)
            }
            Err(error) => {
                let error = error.to_string();
                self.fail_as(generation, error.clone());
                Err(error)
            }
        }
    }

    /// Notes that the connections do not work, and why. Then [`failed`](Self::failed) returns the reason.
    pub(super) fn fail(&self, reason: String) {
        self.fail_as(self.generation.get(), reason);
    }

    fn fail_as(&self, generation: u64, reason: String) {
        if self.generation.get() == generation {
            self.failure.replace(Some(reason));
            self.failed.notify_one();
        }
    }

    /// Waits until the writer has failed, and returns why. It checks the server again and again.
    pub(super) async fn failed(&self) -> String {
        loop {
            let failure = self.failure.take();
            if let Some(failure) = failure {
                return failure;
            }
            if timeout(self.patience.min(Duration::from_secs(2)), self.failed.notified()).await.is_err() {
                let writer = self.writer.borrow().clone();
                let Some(mut writer) = writer else { return "it is not connected".to_owned() };
                // A command that fails meanwhile says it sooner.
                tokio::select! {
                    () = self.failed.notified() => {}
                    checked = self.check(&mut writer) => if let Err(reason) = checked {
                        return reason;
                    }
                }
            }
        }
    }
}

/// Makes a connection, whose commands may take as long as `answer`.
pub(super) async fn open(
    client: &Client,
    patience: Duration,
    answer: Duration,
) -> Result<MultiplexedConnection, String> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        .set_response_timeout(Some(answer));
    within(patience * 2, client.get_multiplexed_async_connection_with_config(&config)).await
}

pub(super) async fn within<T>(
    patience: Duration,
    work: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, String> {
    match timeout(patience, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {patience:?}")),
    }
}

/// The texts and numbers of a reply as bytes, also those in nested lists.
pub(super) fn flat(reply: Value) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    flatten(reply, &mut all);
    all
}

fn flatten(reply: Value, to: &mut Vec<Vec<u8>>) {
    match reply {
        Value::BulkString(bytes) => to.push(bytes),
        Value::SimpleString(text) => to.push(text.into_bytes()),
        Value::Int(number) => to.push(number.to_string().into_bytes()),
        Value::Double(number) => to.push(number.to_string().into_bytes()),
        Value::Array(values) | Value::Set(values) => values.into_iter().for_each(|value| flatten(value, to)),
        _ => {}
    }
}

/// Seconds since 1970, by the clock of this machine. channels_redis sorts and expires messages by it.
pub(super) fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as f64 / 1e6
}

/// Reads a score, as Redis writes it.
pub(super) fn score(bytes: &[u8]) -> f64 {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}
