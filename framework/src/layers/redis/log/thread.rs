//! The tasks for the logs of groups on the driver's thread, and what they do when a shard is connected.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::{check::check, linked::Linked, scripts::Kept, secret::share_secret, serve::serve};

/// Starts the tasks, if groups have logs.
pub(in crate::layers::redis) fn start<L: Linked>(io: &Rc<L>) {
    if let Some(requests) = io.logs().take_requests().filter(|_| io.directory().logs.are_kept()) {
        spawn_local(serve(Rc::clone(io), requests));
        spawn_local(check(Rc::clone(io)));
        let io = Rc::clone(io);
        spawn_local(async move { io.state().unsure.give_up(io.shared()).await });
    }
}

/// Makes a shard that is connected ready for logs: it keeps the scripts, and the first one has the secret.
///
/// If it does not keep the scripts, they are sent in full each time.
pub(in crate::layers::redis) async fn prepare<L: Linked>(io: &L, shard: usize) {
    if !io.directory().logs.are_kept() {
        return;
    }
    if let Ok(replies) = io.link(shard).run(&Kept::load()).await {
        io.state().kept[shard].loaded(replies);
    }
    if shard == 0 {
        share_secret(io).await;
    }
}
