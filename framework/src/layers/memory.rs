//! The layer inside one process.

use std::{io, path::Path, sync::Arc};

use async_trait::async_trait;

use super::{ChannelLayer, Groups, LayerConfig, LayerError};
use crate::{
    ChannelName, Delivery, Envelope, GroupName,
    groups::{directory::Directory, history::file::HistoryFile},
    history::History,
};

/// The layer inside one process, for programs of one process and for tests.
///
/// It differs from Channels' `InMemoryChannelLayer`: it serves all threads of the process, its
/// `channel_capacity` works, a channel stays in its groups when one of its messages expires, and no operation
/// looks at channels or groups other than its own.
///
/// It shares events and never writes them. In a build with debug assertions, as tests have, it writes the first event of
/// each type and name, and refuses an event that another layer could not write: [`LayerError::Unwritable`].
///
/// The [guide](crate::docs::guide#layer) has an example.
#[derive(Debug)]
pub struct MemoryLayer {
    groups: Groups,
    file: Option<Arc<HistoryFile>>,
}

impl MemoryLayer {
    /// Makes a layer with the defaults of [`LayerConfig`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(LayerConfig::new())
    }

    /// Makes a layer with the bounds of `config`.
    #[must_use]
    pub fn with_config(config: LayerConfig) -> Self {
        Self { groups: Groups::new(config), file: None }
    }

    /// As [`LayerConfig::history`]. Call it before [`history_file`](Self::history_file).
    #[must_use]
    pub fn history(mut self, pattern: impl Into<String>, history: History) -> Self {
        let config = self.groups.directory().config.clone();
        self.groups = Groups::new(config.history(pattern, history));
        self
    }

    /// Keeps the history of all groups in a file while the program is restarted: nobody misses anything over a deploy.
    ///
    /// The program writes the file at its clean end, and reads it at its next start. The file is written by
    /// [`Layer::close`](crate::Layer::close), which a program calls last, after [`run`](crate::run); or, if it does not,
    /// when the last clone of the layer is dropped. From then on a send to a group that keeps its events fails with
    /// [`LayerError::Closed`], so that nothing comes behind what is written.
    ///
    /// A program that was killed, or has crashed, leaves nothing: then all groups begin anew, and each client that comes
    /// back is told that it may have missed events ([`LostReason::Epoch`](crate::history::LostReason::Epoch)). The same
    /// happens, with a line in the log, if the file is damaged, is older than the groups keep their events, was written
    /// by another version, belongs to another user, can be read by others, is larger than twice
    /// [`LayerConfig::history_memory`], or cannot be written because the disk is full.
    ///
    /// A state is used once. At the start a mark of this process takes its place, before anything is sent; whoever finds
    /// a mark that is not its own at the end writes nothing. So a second process that runs at the same time makes clients
    /// begin anew, and never makes them miss an event without a word. Three things are up to you: every run of the
    /// program has the same path, nobody puts an older copy of the file back, and only the program can write to its
    /// folder. The file has the mode 0600, because the secret is in it that clients' proofs are signed with.
    ///
    /// It blocks the thread while it reads, as other set-up does.
    ///
    /// # Errors
    /// If the path can never work: its folder does not exist or cannot be read and written, or something else than a
    /// file has this name, also a symbolic link.
    ///
    /// ```no_run
    /// use greenroom::{Layer, MemoryLayer, Server, UrlRouter, history::History};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let routes = UrlRouter::new();
    /// let layer = MemoryLayer::new().history("chat_*", History::last(100));
    /// let layer = Layer::from(layer.history_file("/var/lib/chat/history")?);
    /// let ended = Server::new(routes)?.layer(layer.clone()).bind("127.0.0.1:8000")?.run().await;
    /// layer.close().await; // writes the file
    /// # Ok(ended?)
    /// # }
    /// ```
    pub fn history_file(mut self, path: impl AsRef<Path>) -> io::Result<Self> {
        let directory = self.groups.directory();
        self.file = HistoryFile::open(path.as_ref(), &directory.logs, &directory.config)?.map(Arc::new);
        Ok(self)
    }

    /// Refuses what would come behind a history that is written.
    fn check(&self, group: &GroupName, envelope: &Envelope) -> Result<(), LayerError> {
        check(envelope)?;
        let Directory { logs, config, .. } = &**self.groups.directory();
        let is_over = logs.are_frozen() && !envelope.is_transient() && logs.policy(config, group).is_some();
        if is_over { Err(LayerError::Closed) } else { Ok(()) }
    }
}

impl Drop for MemoryLayer {
    fn drop(&mut self) {
        // After a panic nobody knows whether the program has done what it meant to.
        if let Some(file) = self.file.take().filter(|_| !std::thread::panicking()) {
            file.save(&self.groups.directory().logs);
        }
    }
}

impl Default for MemoryLayer {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ChannelLayer for MemoryLayer {
    fn groups(&self) -> &Groups {
        &self.groups
    }

    async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError> {
        check(&envelope)?;
        self.groups.send(channel, envelope).await
    }

    async fn group_send(&self, group: &GroupName, envelope: Envelope) -> Result<(), LayerError> {
        self.check(group, &envelope)?;
        self.groups.publish(group, envelope).await;
        Ok(())
    }

    async fn group_send_counted(
        &self,
        group: &GroupName,
        envelope: Envelope,
    ) -> Result<Delivery, LayerError> {
        self.check(group, &envelope)?;
        Ok(self.groups.publish_counted(group, envelope).await)
    }

    async fn group_send_except(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        self.check(group, &envelope)?;
        Ok(self.groups.publish_except(group, except, envelope, count).await)
    }

    async fn close(&self) {
        let Some(file) = &self.file else { return };
        let (file, directory) = (Arc::clone(file), Arc::clone(self.groups.directory()));
        let save = move || file.save(&directory.logs);
        match tokio::runtime::Handle::try_current() {
            // An error is a panic in a user's event, and was told. There is no file then.
            Ok(runtime) => drop(runtime.spawn_blocking(save).await),
            Err(_) => save(),
        }
    }
}

/// A test with this layer should fail as the program would on another layer.
fn check(envelope: &Envelope) -> Result<(), LayerError> {
    if cfg!(debug_assertions) { envelope.check_writable().map_err(LayerError::Unwritable) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{Event, EventError, Layer};

    #[derive(Clone, Serialize, Deserialize)]
    enum Inner {
        One { number: u8 },
    }

    /// Its words do not show that `Inner` is an enum.
    #[derive(Clone, Serialize, Deserialize, Event)]
    enum Room {
        In(Inner),
        Left { user: String },
    }

    #[derive(Clone, Serialize, Deserialize, Event)]
    struct Flat {
        #[serde(flatten)]
        rest: Tagged,
    }

    #[derive(Clone, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        One,
    }

    #[tokio::test]
    async fn an_event_that_no_other_layer_could_write_is_refused() {
        let layer = Layer::from(MemoryLayer::new());
        let (room, channel) = (GroupName::new("room").unwrap(), ChannelName::new("jobs").unwrap());
        let reason = |sent: Result<(), LayerError>| match sent {
            Err(LayerError::Unwritable(EventError::Unwritable { name, reason })) => (name, reason),
            other => panic!("{other:?}"),
        };
        let inside = Room::In(Inner::One { number: 1 });
        for _ in 0..2 {
            let (name, text) = reason(layer.group_send(&room, &inside).await);
            assert_eq!(name, "in");
            assert!(
                text.contains("enum with such structs as its variants") && text.contains("::Room"),
                "{text}"
            );
        }
        let (name, text) = reason(layer.send(&channel, &inside).await);
        assert_eq!((&*name, text.contains("::Room")), ("in", true));
        let (_, text) = reason(layer.group_send(&room, Flat { rest: Tagged::One }).await);
        assert!(text.contains(r#"the field "type" is reserved"#) && text.contains("::Flat"), "{text}");
        layer.group_send(&room, Room::Left { user: "ann".into() }).await.unwrap();
    }
}
