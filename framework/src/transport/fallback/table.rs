//! The sessions of a mount, found by their ids from every worker.

use std::{
    collections::{HashMap, hash_map::Entry as Place},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::mpsc;

use super::{bound::Bound, session::Command, settings::Fallback};

/// How many requests of one session may bring a body at once: one, and one that takes its place.
const BODIES: usize = 2;

/// The sessions of one mount.
#[derive(Debug)]
pub(crate) struct SessionTable {
    pub(crate) settings: Fallback,
    /// Held for one look-up; nothing else happens under it.
    sessions: Mutex<HashMap<u128, Arc<Door>>>,
}

/// What a request needs to know of a session.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) commands: mpsc::Sender<Box<Command>>,
    pub(crate) bound: Bound,
    pub(crate) message_size: usize,
    bodies: AtomicUsize,
}

/// An id as a client writes it: the process in 8 hex digits, then 32 of 128 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id {
    /// Of this process.
    Ours(u128),
    /// Of another one.
    Others,
    /// None at all.
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

/// What names this process in its ids: of two servers, or of one before and after its restart, it differs.
static PROCESS: LazyLock<Option<u32>> = LazyLock::new(|| random().map(u32::from_ne_bytes));

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).is_ok().then_some(bytes)
}

impl SessionTable {
    pub(crate) fn new(settings: Fallback) -> Arc<Self> {
        Arc::new(Self { settings, sessions: Mutex::default() })
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u128, Arc<Door>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions().len()
    }

    pub(crate) fn find(&self, id: u128) -> Option<Arc<Door>> {
        self.sessions().get(&id).cloned()
    }

    /// Adds a session under a new id; `None` where the system has no random bits.
    pub(crate) fn enter(self: &Arc<Self>, door: Door) -> Option<Listed> {
        (*PROCESS)?;
        let id = u128::from_ne_bytes(random()?);
        let door = Arc::new(door);
        match self.sessions().entry(id) {
            Place::Vacant(place) => place.insert(Arc::clone(&door)),
            // Of 128 random bits this does not happen.
            Place::Occupied(_) => return None,
        };
        Some(Listed { table: Arc::clone(self), door, id })
    }
}

/// The place of a session in its table, until it is dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(super) table: Arc<SessionTable>,
    door: Arc<Door>,
    id: u128,
}

impl Listed {
    /// The id, for the client.
    pub(crate) fn id(&self) -> String {
        format!("{:08x}{:032x}", PROCESS.unwrap_or_default(), self.id)
    }

    /// Whether a body is on its way.
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

    /// A place for a request that brings a body; `None` where there is none left.
    pub(crate) fn bring(self: &Arc<Self>) -> Option<Bringing> {
        let bringing = Bringing(Arc::clone(self));
        (self.bodies.fetch_add(1, SeqCst) < BODIES).then_some(bringing)
    }
}

/// A request with a body that is under way, until it is dropped.
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

    fn door() -> Door {
        let request = TestRequest::default().to_http_request();
        Door::new(mpsc::channel(1).0, Bound::of(&request, &Fallback::new()), 1)
    }

    #[test]
    fn ids_are_of_this_process_of_another_or_none() {
        let table = SessionTable::new(Fallback::new());
        let listed = table.enter(door()).unwrap();
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
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn two_bodies_at_once() {
        let door = Arc::new(door());
        let first = door.bring().unwrap();
        let _second = door.bring().unwrap();
        assert!(door.bring().is_none());
        drop(first);
        assert!(door.bring().is_some());
    }
}
