//! The connections to one Redis server.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, Pipeline, Value,
    aio::{MultiplexedConnection, PubSub},
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};
use tokio::{sync::Notify, time::timeout};

use super::{
    batch::said,
    config::{RedisHost, RedisSettings},
};
use crate::layers::server::refusal::Refusal;

/// How long the blocking command of a reader lasts. Its end shows that the connection works.
pub(super) const BLOCK: Duration = Duration::from_secs(5);

/// The connections to one server. It belongs to the driver's thread.
#[derive(Debug)]
pub(super) struct RedisLink {
    host: RedisHost,
    roots: Option<Vec<u8>>,
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
        let link =
            |host: &RedisHost| Self::new(host.clone(), settings.roots.clone(), patience, probe.clone());
        settings.hosts.iter().map(link).collect()
    }

    fn new(host: RedisHost, roots: Option<Vec<u8>>, patience: Duration, probe: Cmd) -> Self {
        Self {
            host,
            roots,
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
        let client = within(self.patience, client(&self.host, self.roots.as_deref())).await?;
        let mut writer = self.open(&client, self.patience).await?;
        self.check(&mut writer).await?;
        self.generation.set(self.generation.get() + 1);
        self.failure.take();
        self.writer.replace(Some(writer));
        Ok(client)
    }

    /// It is an error if the server does nothing for now, or is not a master.
    ///
    /// A replica answers almost everything, but takes no writes, and what is published there reaches only its
    /// own clients. An address may lead to one after a failover.
    async fn check(&self, connection: &mut MultiplexedConnection) -> Result<(), String> {
        let mut commands = redis::pipe();
        // Each user may ask, except one whose rights leave out the connection commands.
        commands.cmd("HELLO").add_command(self.probe.clone());
        let replies = self.within(connection.send_packed_commands(&commands, 0, 2)).await?;
        for reply in &replies {
            if let Value::ServerError(error) = reply {
                let said = said(error);
                // A server that needs a password accepts a connection without one, and refuses the commands.
                if error.code() == "NOAUTH" || Refusal::of_redis(&said) == Refusal::Away {
                    return Err(said);
                }
            }
        }
        let hello = replies.into_iter().next().unwrap_or(Value::Nil);
        let hello: HashMap<String, Value> = redis::from_redis_value(hello).unwrap_or_default();
        let role = hello.get("role").cloned().and_then(|role| redis::from_redis_value::<String>(role).ok());
        match role.as_deref() {
            Some("replica" | "slave") => Err("it is a replica, and not the master".to_owned()),
            _ => Ok(()),
        }
    }

    /// Makes one more connection, whose commands may take as long as `answer`.
    pub(super) async fn open(
        &self,
        client: &Client,
        answer: Duration,
    ) -> Result<MultiplexedConnection, String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience))
            .set_response_timeout(Some(answer));
        within(self.patience * 2, client.get_multiplexed_async_connection_with_config(&config)).await
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
                        && Refusal::of_redis(&said(error)) == Refusal::Away
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
                if let Err(reason) = self.check(&mut writer).await {
                    return reason;
                }
            }
        }
    }
}

async fn client(host: &RedisHost, roots: Option<&[u8]>) -> redis::RedisResult<Client> {
    match host {
        RedisHost::Server(url) => open(url, roots),
        RedisHost::Sentinel { master, sentinels, server } => {
            let mut node = SentinelNodeConnectionInfo::default();
            if let Some(server) = server {
                node = node.set_redis_connection_info(
                    server.as_str().into_connection_info()?.redis_settings().clone(),
                );
            }
            let urls: Vec<&str> = sentinels.iter().map(String::as_str).collect();
            let mut sentinel =
                SentinelClient::build(urls, master.clone(), Some(node), SentinelServerType::Master)?;
            sentinel.async_get_client().await
        }
    }
}

#[cfg(feature = "rustls")]
fn open(url: &str, roots: Option<&[u8]>) -> redis::RedisResult<Client> {
    if url.starts_with("rediss:") {
        // If several crypto providers are compiled in, rustls chooses none by itself. A provider that the
        // program has installed stays.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    }
    match roots {
        Some(roots) if url.starts_with("rediss:") => {
            let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(roots.to_vec()) };
            Client::build_with_tls(url, certificates)
        }
        _ => Client::open(url),
    }
}

#[cfg(not(feature = "rustls"))]
fn open(url: &str, _roots: Option<&[u8]>) -> redis::RedisResult<Client> {
    Client::open(url)
}

async fn within<T>(
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
