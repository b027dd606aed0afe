//! A consumer for live servers that records the notes that it gets.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use greenroom::{ChannelName, Layer, Mount, prelude::*};
use integration_tests::eventually;

use crate::common::Note;

/// The notes that each member of a live server has heard, in order.
#[derive(Debug, Clone)]
pub(crate) struct Recorder(Arc<Mutex<HashMap<ChannelName, Vec<Note>>>>);

impl Recorder {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Returns a mount whose path `/<group>/` connects a member of that group.
    pub(crate) fn mount(&self, layer: &Layer) -> Mount {
        let recorder = self.clone();
        let member =
            move |scope: &Scope| Ok(Recording { group: scope.param("group")?, recorder: recorder.clone() });
        Mount::new(UrlRouter::new().route("/{group}/", member)).expect("a valid route").layer(layer.clone())
    }

    /// Waits until a member is connected, and returns its channel.
    pub(crate) async fn member(&self) -> ChannelName {
        eventually("a member is connected", || !self.heard().is_empty()).await;
        self.heard().into_keys().next().expect("a member is connected")
    }

    pub(crate) fn heard(&self) -> HashMap<ChannelName, Vec<Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many notes all members together have heard.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(Vec::len).sum()
    }

    fn add(&self, member: ChannelName, note: Option<&Note>) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.entry(member).or_default().extend(note.cloned());
    }
}

/// Checks that each sender's notes came in order, and none came twice.
pub(crate) fn assert_in_order(notes: &[Note]) {
    let mut last: HashMap<usize, u64> = HashMap::new();
    for note in notes {
        if let Some(before) = last.insert(note.sender, note.number) {
            assert!(before < note.number, "{note:?} came after {before}");
        }
    }
}

#[derive(Debug)]
struct Recording {
    group: GroupName,
    recorder: Recorder,
}

impl Consumer for Recording {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.group_add(&self.group).await?;
        self.recorder.add(ctx.channel_name(), None);
        ctx.accept()
    }
}

#[event_handlers]
impl Recording {
    async fn note(&mut self, note: &Note, ctx: &mut Context) -> Result<()> {
        self.recorder.add(ctx.channel_name(), Some(note));
        Ok(())
    }
}
