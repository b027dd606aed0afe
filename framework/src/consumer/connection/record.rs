//! What the log says of a connection: a line when it is answered, and a line when it has ended.

use std::net::SocketAddr;

use tokio::time::Instant;
use tracing::{Level, field::display};

use super::{Connection, RequestAnswer};
use crate::{
    Scope,
    close::{Cause, Disconnect},
    shown::Shown,
    wire::{Transport, Wire},
};

/// The target of these lines.
const TARGET: &str = "greenroom::connection";

/// What a connection's lines in the log name. It is kept only if the log has such lines.
#[derive(Debug)]
pub(crate) struct Record {
    path: String,
    peer: Option<SocketAddr>,
    consumer: &'static str,
    since: Instant,
}

impl Record {
    /// A record of what is known of a client, if the log has lines for it. `consumer` is the name of a type.
    pub(crate) fn of(scope: &Scope, consumer: &'static str) -> Option<Box<Self>> {
        if !tracing::enabled!(target: TARGET, Level::DEBUG) {
            return None;
        }
        let path = scope.path().to_owned();
        Some(Box::new(Self { path, peer: scope.peer(), consumer, since: Instant::now() }))
    }

    /// Logs that a client was not let in.
    pub(crate) fn rejected(&self, transport: &str, status: u16) {
        tracing::debug!(
            target: TARGET,
            path = ?Shown(&self.path),
            consumer = self.consumer,
            peer = self.peer.map(display),
            transport,
            status,
            "rejected"
        );
    }
}

impl Wire {
    /// The name of the transport before the client's first request.
    pub(crate) fn transport_name(self) -> &'static str {
        match self {
            Self::Body => "http",
            Self::Fallback | Self::MarkedFallback => "fallback",
            Self::MarkedWebSocket(_) | Self::WebSocket(_) => "websocket",
        }
    }
}

impl Connection {
    /// Keeps what the lines in the log name.
    pub(crate) fn keep_record(&self, record: Box<Record>) {
        // It is set only once, when the connection is made.
        let _ = self.rare().record.set(record);
    }

    fn record(&self) -> Option<&Record> {
        Some(self.rare.get()?.record.get()?)
    }

    fn transport_name(&self) -> &'static str {
        match self.rare.get().and_then(|rare| rare.transport.get()) {
            Some(Transport::EventStream) => "event-stream",
            Some(Transport::LongPolling) => "long-polling",
            Some(Transport::Polling) => "polling",
            Some(Transport::WebSocket) | None => self.class.wire().transport_name(),
        }
    }

    /// Logs the answer that the client gets.
    pub(super) fn log_answer(&self, answer: &RequestAnswer) {
        let Some(record) = self.record() else { return };
        let (transport, channel) = (self.transport_name(), self.channel_name());
        let (path, consumer, peer) = (Shown(&record.path), record.consumer, record.peer.map(display));
        match answer {
            RequestAnswer::Accept(_) => {
                tracing::debug!(target: TARGET, ?path, consumer, peer, transport, %channel, "connected");
            }
            RequestAnswer::Respond(head) => {
                let status = head.status.as_u16();
                tracing::debug!(target: TARGET, ?path, consumer, peer, transport, status, %channel, "answered");
            }
            RequestAnswer::Reject(rejection) => record.rejected(transport, rejection.status()),
        }
    }

    /// Logs how it ended. A rejection was logged before.
    pub(crate) fn log_end(&self) {
        let Some(record) = self.record() else { return };
        let Some(Disconnect { code, reason, cause }) = self.ending() else { return };
        if cause == Cause::Rejected {
            return;
        }
        tracing::debug!(
            target: TARGET,
            path = ?Shown(&record.path),
            consumer = record.consumer,
            peer = record.peer.map(display),
            transport = self.transport_name(),
            %code,
            ?cause,
            reason = ?Shown(reason),
            duration = ?std::time::Duration::from_millis(record.since.elapsed().as_millis() as u64),
            channel = %self.channel_name(),
            "ended"
        );
    }
}
