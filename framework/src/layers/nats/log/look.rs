//! Finds out whether the streams can be used.

use std::rc::Rc;

use futures_util::future::join_all;

use super::{
    api::{Api, JetStreamError},
    stream::Found,
    streams::{Stream, StreamState, Streams},
};
use crate::layers::nats::link::NatsLink;

impl Streams {
    /// Finds out which streams can be used, and makes those that are missing.
    pub(in crate::layers::nats) async fn look(&self, link: &Rc<NatsLink>) {
        // What went wrong is kept and logged.
        join_all(self.all.iter().map(|stream| stream.look(link))).await;
    }
}

impl Stream {
    pub(super) fn api<'a>(&'a self, link: &'a Rc<NatsLink>) -> Api<'a> {
        Api { link, stream: &self.terms.name }
    }

    /// Finds out whether the stream can be used, and makes it if it is missing.
    pub(super) async fn look(&self, link: &Rc<NatsLink>) -> Result<Found, JetStreamError> {
        let api = self.api(link);
        let found = match api.info().await {
            Err(JetStreamError::NoStream) if self.terms.create => {
                match api.create(&self.terms.config()).await {
                    // Another process was faster, with other settings.
                    Err(JetStreamError::Refused(reason)) => match api.info().await {
                        Err(JetStreamError::NoStream) => Err(JetStreamError::Refused(reason)),
                        found => found,
                    },
                    made => made,
                }
            }
            found => found,
        };
        let found = found.and_then(|found| match self.terms.unusable(&found.config) {
            Some(reason) => Err(JetStreamError::Refused(reason)),
            None => Ok(found),
        });
        self.note(link, &found);
        found
    }

    /// Keeps and logs what was found.
    pub(super) fn note(&self, link: &NatsLink, found: &Result<Found, JetStreamError>) {
        let name = self.terms.name.as_str();
        let logs = |kind| link.shared.status.logs(kind);
        match found {
            Ok(found) => {
                if let Some(reason) = self.terms.differs(&found.config)
                    && let Some(more) = logs("history settings")
                {
                    link.fate.log(|| tracing::warn!(more, "{reason}"));
                }
                self.set(StreamState::Ready { epoch: found.epoch, replicas: found.replicas() });
            }
            Err(JetStreamError::Away(reason)) => {
                if let Some(more) = logs("history away") {
                    link.fate
                        .log(|| tracing::warn!(stream = name, reason, more, "JetStream does not answer"));
                }
                self.set(StreamState::Unknown(reason.clone()));
            }
            Err(error) => {
                let reason = match error {
                    JetStreamError::NoStream => format!(
                        "the layer may not make the stream: make it with these settings: {}",
                        self.terms.config()
                    ),
                    JetStreamError::Missing(reason) => {
                        format!(
                            "{reason}: start nats-server with -js and -sd, or enable JetStream for the account"
                        )
                    }
                    error => error.to_string(),
                };
                if self.state() != StreamState::Unusable || logs("history unusable").is_some() {
                    link.fate.log(|| {
                        tracing::warn!(
                            stream = name,
                            reason,
                            "history is kept in this process only: JetStream cannot be used"
                        );
                    });
                }
                self.set(StreamState::Unusable);
            }
        }
    }
}
