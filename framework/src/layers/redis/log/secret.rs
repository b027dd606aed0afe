//! The secret that the processes of a layer share, with which clients' places are signed.

use redis::Cmd;

use super::{linked::Linked, store::SharedSecret};
use crate::{
    groups::history::token::Secret,
    layers::redis::{batch::Replies, link::flat, names::secret_key},
};

/// The command that writes the secret again, if it was deleted. `None` if it is not known yet.
pub(in crate::layers::redis) fn keep_secret<L: Linked>(io: &L) -> Option<Cmd> {
    let SharedSecret(secret) = io.logs().secret.get()?;
    let mut command = redis::cmd("SET");
    command.arg(secret_key(io.prefix())).arg(&secret[..]).arg("NX");
    Some(command)
}

/// Learns the secret that the processes share from the first shard, or makes it.
///
/// It is written again if it was deleted, so that processes that start later get the same one.
pub(in crate::layers::redis) async fn share_secret<L: Linked>(io: &L) {
    let known = &io.logs().secret;
    let mut offered = [0; 32];
    match known.get() {
        Some(SharedSecret(known)) => offered = *known,
        None if getrandom::fill(&mut offered).is_err() => return,
        None => {}
    }
    let key = secret_key(io.prefix());
    let mut commands = redis::pipe();
    commands.cmd("SET").arg(&key).arg(&offered[..]).arg("NX");
    commands.cmd("GET").arg(&key);
    let replies = io.link(0).run(&commands).await;
    let mut replies = Replies::new(io.status(), 0, &commands, replies);
    // What Redis refuses is logged. Without a secret nobody has a place to come back to.
    let (Ok(_), Ok(found)) = (replies.next(), replies.next()) else { return };
    let found = flat(found).pop().unwrap_or_default();
    match <[u8; 32]>::try_from(&found[..]) {
        Ok(secret) => {
            if known.set(SharedSecret(secret)).is_ok() {
                io.directory().logs.set_secret(Secret::from(secret));
            } else if secret != offered
                && let Some(more) = io.status().logs("secret")
            {
                tracing::warn!(
                    key,
                    more,
                    "other processes have another secret for the history of groups: their clients are not known here"
                );
            }
        }
        Err(_) => {
            if let Some(more) = io.status().logs("secret") {
                tracing::warn!(
                    key,
                    more,
                    "this key must have 32 bytes: without them nobody can come back to a place in the history of a group"
                );
            }
        }
    }
}
