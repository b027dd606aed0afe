//! The last hook of a room, which may take its time.

use std::{
    future::poll_fn, panic::AssertUnwindSafe, pin::Pin, sync::Arc, task::Poll, thread::ThreadId,
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{sync::watch, time::timeout};

use super::{RoomEnd, RoomState, core::Core, inside::inside, queue::EventQueue, registry::Registry};
use crate::{
    GroupName,
    groups::drain::RoomGuard,
    guard::{drop_guarded, panicked},
    shown::Shown,
};

/// How long the hook may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Says that a room ends, until it is dropped: then the next room of this name may begin.
pub(super) struct Over<S: RoomState> {
    pub(super) registry: Arc<Registry<S>>,
    pub(super) room: GroupName,
    pub(super) is_over: watch::Sender<()>,
}

impl<S: RoomState> Drop for Over<S> {
    fn drop(&mut self) {
        self.registry.forget_ending(&self.room, &self.is_over);
    }
}

/// Runs the hook `ended`.
///
/// It runs at the home of the room, because what it awaits may belong to the runtime that it began on. If that thread ends,
/// another one goes on. The drain waits for it, and so does the next room of this name.
pub(super) struct Ending<S: RoomState> {
    queue: Arc<EventQueue>,
    hook: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    home: ThreadId,
    told: Option<(Over<S>, RoomGuard)>,
}

impl<S: RoomState> Ending<S> {
    pub(super) fn start(core: &Core<S>, state: S, why: RoomEnd, over: Over<S>) {
        let queue = Arc::clone(&core.queue);
        let (home, is_here) = queue.homes.home();
        let hook = async move { state.ended(why).await };
        let told = Some((over, core.drain().awaits_room()));
        let mut ending = Self { queue, hook: Some(Box::pin(hook)), home, told };
        // A hook that awaits nothing needs no task.
        if is_here && ending.poll_once() {
            return;
        }
        ending.queue.homes.note();
        ending.spawn();
    }

    fn poll_once(&mut self) -> bool {
        let Some(hook) = &mut self.hook else { return true };
        match inside(|| AssertUnwindSafe(hook.as_mut()).catch_unwind().now_or_never()) {
            Some(ended) => {
                self.note(ended.map_err(panicked).err());
                true
            }
            None => false,
        }
    }

    fn spawn(mut self) {
        let queue = Arc::clone(&self.queue);
        // If no thread is left, this is dropped, which says so.
        queue.homes.spawn(move |home| {
            self.home = home;
            self.run()
        });
    }

    async fn run(mut self) {
        // The hook stays in `self`, so that it can go on elsewhere.
        let polled = poll_fn(|cx| match &mut self.hook {
            Some(hook) => inside(|| hook.as_mut().poll(cx)),
            None => Poll::Ready(()),
        });
        let ended = timeout(LIMIT, AssertUnwindSafe(polled).catch_unwind()).await;
        match ended {
            Ok(ended) => self.note(ended.map_err(panicked).err()),
            Err(_) => {
                tracing::warn!(room = %self.queue.room(), limit = ?LIMIT, "the hook `ended` of a room took too long and was cancelled");
                self.note(None);
            }
        }
    }

    /// Notes that the hook has run.
    fn note(&mut self, error: Option<crate::Error>) {
        if let Some(error) = error {
            tracing::error!(room = %self.queue.room(), error = %Shown(error), "the hook `ended` of a room panicked");
        }
        drop_guarded(self.hook.take(), "the state of a room");
    }
}

impl<S: RoomState> Drop for Ending<S> {
    /// If the thread of this task ends, another one goes on.
    fn drop(&mut self) {
        let Some(hook) = self.hook.take() else { return };
        let homes = &self.queue.homes;
        homes.lost(self.home);
        if homes.is_empty() {
            tracing::error!(room = %self.queue.room(), "the hook `ended` of a room was cut short: the last thread of the room has ended");
            drop_guarded(hook, "the state of a room");
            return;
        }
        Self { queue: Arc::clone(&self.queue), hook: Some(hook), home: self.home, told: self.told.take() }
            .spawn();
    }
}
