//! The table in which every thread finds the sessions of a mount by their ids.

use std::{
    collections::{HashMap, hash_map::Entry as Place},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::mpsc;

use super::{bound::Bound, session::Command, settings::Fallback};
use crate::{
    consumer::connection::peers::{PeerGuard, Peers},
    groups::drain::SessionPlace,
};

/// How many requests of one session may bring a body at once.
///
/// These are one, and a second that takes its place.
const BODIES: usize = 2;

/// The sessions of one mount.
#[derive(Debug)]
pub(crate) struct SessionTable {
    pub(crate) settings: Fallback,
    /// Counts the sessions of each client address, if their number is limited.
    peers: Option<Arc<Peers>>,
    /// Held only for one look-up or edit.
    sessions: Mutex<HashMap<u128, Arc<Door>>>,
}

/// The part of a session that requests on other threads need.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) commands: mpsc::Sender<Box<Command>>,
    pub(crate) bound: Bound,
    pub(crate) message_size: usize,
    bodies: AtomicUsize,
}

/// An id, as a client sends it.
///
/// It is the process in 8 hex digits, then 128 random bits in 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id {
    /// This process made the id.
    Ours(u128),
    /// Another process made the id.
    Others,
    /// The text is not an id.
    Malformed,
}

impl Id {
    pub(crate) fn parse(text: &str) -> Self {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 40 || !text.bytes().all(is_hex) {
            return Self::Malformed;
        }
        let (process, id) = text.split_at(8);
        match (u32::from_str_radix(process, 16), u128::from_str_radix(id, 16)) {
            (Ok(process), Ok(id)) if Some(process) == *PROCESS => Self::Ours(id),
            (Ok(_), Ok(_)) => Self::Others,
            _ => Self::Malformed,
        }
    }
}

/// The number of this process in its ids. Two servers have different ones, and so has a server after a
/// restart.
static PROCESS: LazyLock<Option<u32>> = LazyLock::new(|| random().map(u32::from_ne_bytes));

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).is_ok().then_some(bytes)
}

impl SessionTable {
    pub(crate) fn new(settings: Fallback) -> Arc<Self> {
        let peers = settings.connections_per_peer.map(Peers::new);
        Arc::new(Self { settings, peers, sessions: Mutex::default() })
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u128, Arc<Door>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn peers(&self) -> Option<&Arc<Peers>> {
        self.peers.as_ref()
    }

    pub(crate) fn find(&self, id: u128) -> Option<Arc<Door>> {
        self.sessions().get(&id).cloned()
    }

    /// Adds a session under a new id. Returns `None` if the system has no random bits.
    pub(crate) fn enter(self: &Arc<Self>, door: Door, places: SessionPlaces) -> Option<Listed> {
        (*PROCESS)?;
        let id = u128::from_ne_bytes(random()?);
        let door = Arc::new(door);
        match self.sessions().entry(id) {
            Place::Vacant(place) => place.insert(Arc::clone(&door)),
            // With 128 random bits this does not happen.
            Place::Occupied(_) => return None,
        };
        Some(Listed { table: Arc::clone(self), door, id, _places: places })
    }
}

/// The places that a session takes until it is dropped.
#[derive(Debug)]
pub(crate) struct SessionPlaces {
    _session: SessionPlace,
    _of_peer: Option<PeerGuard>,
}

impl SessionPlaces {
    pub(crate) fn new(session: SessionPlace, of_peer: Option<PeerGuard>) -> Self {
        Self { _session: session, _of_peer: of_peer }
    }
}

/// The place of a session in its table, until it is dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(super) table: Arc<SessionTable>,
    door: Arc<Door>,
    id: u128,
    _places: SessionPlaces,
}

impl Listed {
    /// The id, for the client.
    pub(crate) fn id(&self) -> String {
        format!("{:08x}{:032x}", PROCESS.unwrap_or_default(), self.id)
    }

    /// Whether a request is bringing a body.
    pub(super) fn has_body_under_way(&self) -> bool {
        self.door.bodies.load(SeqCst) > 0
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.table.sessions().remove(&self.id);
    }
}

impl Door {
    pub(crate) fn new(commands: mpsc::Sender<Box<Command>>, bound: Bound, message_size: usize) -> Self {
        Self { commands, bound, message_size, bodies: AtomicUsize::new(0) }
    }

    /// Takes a place for a request that brings a body. Returns `None` if all places are taken.
    pub(crate) fn bring(self: &Arc<Self>) -> Option<Bringing> {
        let bringing = Bringing(Arc::clone(self));
        (self.bodies.fetch_add(1, SeqCst) < BODIES).then_some(bringing)
    }
}

/// The place of a request whose body is under way. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Bringing(Arc<Door>);

impl Drop for Bringing {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::groups::drain::Drain;

    fn door() -> Door {
        let request = TestRequest::default().to_http_request();
        Door::new(mpsc::channel(1).0, Bound::of(&request, &Fallback::new()), 1)
    }

    #[test]
    fn an_id_belongs_to_this_process_or_to_another_or_is_malformed() {
        let table = SessionTable::new(Fallback::new());
        let place = Drain::new().reserve_session(1).unwrap();
        let listed = table.enter(door(), SessionPlaces::new(place, None)).unwrap();
        let id = listed.id();
        assert_eq!(id.len(), 40);
        let Id::Ours(ours) = Id::parse(&id) else { panic!("{id} is ours") };
        assert!(table.find(ours).is_some());
        let other = format!("{}{}", if id.starts_with('0') { "1" } else { "0" }, &id[1..]);
        assert_eq!(Id::parse(&other), Id::Others);
        for bad in
            ["", "x", &id[1..], &id.to_uppercase().replace(char::is_numeric, "G"), &format!("+{}", &id[1..])]
        {
            assert_eq!(Id::parse(bad), Id::Malformed, "{bad}");
        }
        drop(listed);
        assert!(table.find(ours).is_none());
        assert!(table.sessions().is_empty());
    }

    #[test]
    fn a_session_takes_two_bodies_at_once() {
        let door = Arc::new(door());
        let first = door.bring().unwrap();
        let _second = door.bring().unwrap();
        assert!(door.bring().is_none());
        drop(first);
        assert!(door.bring().is_some());
    }
}
