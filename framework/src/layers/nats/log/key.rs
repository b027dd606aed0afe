//! The secret with which all processes sign the places that clients name.

use std::rc::Rc;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::json;

use super::{
    api::{Api, JetStreamError},
    entry::expect_last,
    streams::StreamState,
};
use crate::{groups::history::token::Secret, layers::nats::link::NatsLink};

/// The end of the name of the stream that keeps the secret.
const STREAM: &str = "KEY";
/// How often another process may be faster.
const ATTEMPTS: usize = 5;

impl NatsLink {
    /// Finds out the secret, or makes one if no process has done so. If the server has lost it, it is stored again.
    pub(in crate::layers::nats) async fn find_secret(self: &Rc<Self>) {
        let logs = &self.shared.groups.directory().logs;
        let settings = &self.shared.driver.settings;
        if !logs.are_kept() {
            return;
        }
        if let Some(key) = settings.key {
            return logs.set_secret(Secret::from(key));
        }
        let is_usable = |policy| self.shared.driver.streams.state(policy) != StreamState::Unusable;
        if !(0..self.shared.config.layer.history.len()).any(is_usable) {
            // The logs are this process' own, and so is the secret.
            if logs.secret().is_none()
                && let Some(secret) = Secret::random()
            {
                logs.set_secret(secret);
            }
            return;
        }
        match self.shared_secret(settings.jetstream.replicas, logs.secret()).await {
            // If it is another one than before, the first stays.
            Ok(secret) => logs.set_secret(secret),
            Err(error) => {
                if let Some(more) = self.shared.status.logs("history key") {
                    self.fate.log(|| {
                        tracing::warn!(
                            %error,
                            more,
                            "the secret of history cannot be kept in JetStream, so clients cannot come back to their places: \
                             allow its stream, or set `history_key`"
                        );
                    });
                }
            }
        }
    }

    /// Reads the secret. If there is none, stores the one that this process has, or a new one.
    async fn shared_secret(
        self: &Rc<Self>,
        replicas: usize,
        known: Option<&Secret>,
    ) -> Result<Secret, JetStreamError> {
        let subjects = &self.shared.driver.subjects;
        let (name, subject) = (subjects.stream(STREAM), subjects.key());
        let api = Api { link: self, stream: &name };
        if api.info().await == Err(JetStreamError::NoStream) {
            let config = json!({
                "name": name, "subjects": [subject], "storage": "file", "max_msgs_per_subject": 1,
                "num_replicas": replicas, "allow_direct": true,
                "description": "Greenroom's secret for the places that clients name",
            });
            api.create(&config).await?;
        }
        for _ in 0..ATTEMPTS {
            if let Some(key) = api.last_payload(&subject).await? {
                let key: Result<[u8; 32], _> = key.as_ref().try_into();
                return key.map(Secret::from).map_err(|_| {
                    JetStreamError::Refused(format!("the message of {subject} has not 32 bytes"))
                });
            }
            let Some(secret) = known.cloned().or_else(Secret::random) else {
                return Err(JetStreamError::Refused("the system has no source of random bytes".into()));
            };
            let mut headers = HeaderMap::new();
            expect_last(&mut headers, 0);
            match api.store(subject.clone(), headers, Bytes::copy_from_slice(secret.bytes())).await {
                Ok(_) | Err(JetStreamError::Overtaken) => {}
                Err(error) => return Err(error),
            }
        }
        Err(JetStreamError::Refused("the secret was written, and cannot be read".into()))
    }
}
