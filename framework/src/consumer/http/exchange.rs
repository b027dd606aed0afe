//! What the hooks of an exchange, its tasks and the body of its response share.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::SystemTime,
};

use actix_web::http::{
    Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use bytes::Bytes;
use smallvec::SmallVec;

use super::event_id;
use crate::{
    Result, Scope,
    close::{Cause, CloseCode},
    consumer::connection::{Connection, Head, RequestAnswer, backpressure},
    error::{Closed, MisuseError},
    groups::history::log::Log,
    scope::answer_status,
};

/// One exchange: a connection whose outbox is the body of the response.
pub(crate) struct Exchange {
    connection: Rc<Connection>,
    kept_open: Cell<bool>,
    /// Whether the response has no body, whatever is sent. So it is for a HEAD, a 204, a 205 and a 304.
    bodyless: Cell<bool>,
    /// What the client was told of its places in logs.
    ids: RefCell<Ids>,
}

/// What an exchange knows of the ids of its events.
#[derive(Default)]
struct Ids {
    /// Whether the client was told one.
    are_used: bool,
    /// Whether the consumer may have missed events since.
    are_lost: bool,
    /// By the number of a log, the mark of the newest event that is in no log and that was handled.
    foreign: SmallVec<[(u32, f64); 1]>,
}

impl Exchange {
    pub(crate) fn new(connection: &Rc<Connection>) -> Rc<Self> {
        Rc::new(Self {
            connection: Rc::clone(connection),
            kept_open: Cell::new(false),
            bodyless: Cell::new(false),
            ids: RefCell::default(),
        })
    }

    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    pub(super) fn keep_open(&self) {
        self.kept_open.set(true);
    }

    pub(super) fn is_kept_open(&self) -> bool {
        self.kept_open.get()
    }

    pub(crate) fn is_bodyless(&self) -> bool {
        self.bodyless.get()
    }

    /// Sends the head of the response.
    pub(super) fn respond(
        &self,
        scope: &Scope,
        status: impl TryInto<StatusCode>,
        headers: &[(&str, &str)],
        length: Option<u64>,
    ) -> Result<()> {
        let status = answer_status(status, 200..=599).map_err(MisuseError::BadResponseStatus)?;
        let mut length = length;
        // This is checked before the scope is changed.
        if !self.connection.is_connecting() {
            return Err(if self.connection.has_ended() {
                Closed.into()
            } else {
                MisuseError::AlreadyAnswered.into()
            });
        }
        for (name, value) in headers {
            if name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str()) {
                let bad = |_| MisuseError::BadHeader((*name).to_owned());
                length = Some(value.parse().map_err(bad)?);
            } else {
                scope.add_response_header(*name, *value)?;
            }
        }
        let bodyless = scope.method() == Method::HEAD.as_str()
            || matches!(
                status,
                StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
            );
        self.bodyless.set(bodyless);
        let mut headers = scope.take_response_headers();
        // The one that was added last counts: the scope's come first.
        if let Some(last) = headers.iter().rposition(|(name, _)| *name == CONTENT_TYPE) {
            let mut at = 0..;
            headers.retain(|(name, _)| at.next() == Some(last) || *name != CONTENT_TYPE);
        }
        let head = Head { status, headers, length };
        if !self.connection.answer(RequestAnswer::Respond(head)) {
            return Err(Closed.into());
        }
        if bodyless {
            self.finish()?;
        }
        Ok(())
    }

    /// Queues a part of the body, when there is room for it.
    pub(super) async fn send(&self, bytes: Bytes) -> Result<()> {
        if self.connection.is_connecting() {
            return Err(MisuseError::NoHeaders.into());
        }
        if self.bodyless.get() || bytes.is_empty() {
            return Ok(());
        }
        backpressure::fitting(Rc::downgrade(&self.connection), bytes.len()).await?;
        self.connection.write(bytes)?;
        Ok(())
    }

    /// Queues a part of the body without a look at the outbox's limit.
    pub(super) fn push(&self, bytes: Bytes) -> Result<(), Closed> {
        if self.bodyless.get() || bytes.is_empty() {
            return Ok(());
        }
        self.connection.write(bytes).map(|_queued| ())
    }

    /// Ends the response in the normal way.
    pub(super) fn finish(&self) -> Result<(), MisuseError> {
        if self.connection.is_connecting() {
            return Err(MisuseError::NoHeaders);
        }
        self.connection.end(Cause::Consumer, CloseCode::NORMAL, "");
        Ok(())
    }

    /// The id of the last event that was handled: the places in all groups that keep their events.
    pub(super) fn event_id(&self, user: Option<&str>) -> Option<String> {
        let (connection, directory) = (&self.connection, self.connection.hub().directory());
        if !directory.logs.are_kept() || self.ids.borrow().are_lost || !connection.has_caught_up() {
            return None;
        }
        let secret = directory.logs.secret()?;
        let now = SystemTime::now();
        let mut id = String::new();
        for log in connection.logs() {
            let place = connection.handled_place(&log)?;
            if !id.is_empty() {
                id.push(',');
            }
            id.push_str(&event_id::write(secret, &log, place, self.foreign(&log), user, now));
        }
        if id.is_empty() {
            return None;
        }
        self.ids.borrow_mut().are_used = true;
        Some(id)
    }

    /// The mark of the newest event of a log that is in no log, as far as such events were handled.
    fn foreign(&self, log: &Log) -> f64 {
        let mut ids = self.ids.borrow_mut();
        if let Some((_, mark)) = ids.foreign.iter().find(|(alias, _)| *alias == log.alias) {
            return *mark;
        }
        let mark = self.connection.handled_foreign(log).unwrap_or_default();
        ids.foreign.push((log.alias, mark));
        mark
    }

    /// Notes that an event is handled that is in no log.
    pub(super) fn note_foreign(&self, alias: u32, mark: f64) {
        let mut ids = self.ids.borrow_mut();
        match ids.foreign.iter_mut().find(|(known, _)| *known == alias) {
            Some((_, known)) => *known = known.max(mark),
            None => ids.foreign.push((alias, mark)),
        }
    }

    /// Notes that the consumer may have missed events.
    ///
    /// If the client was told an id, the response is cut, because a later id would hide that. The client comes back with
    /// the id that it has, and the consumer is told what became of it.
    pub(super) fn note_lost(&self) {
        let mut ids = self.ids.borrow_mut();
        ids.are_lost = true;
        let are_used = ids.are_used;
        drop(ids);
        if are_used && !self.connection.is_connecting() {
            self.connection.end(Cause::TooSlow, CloseCode::TRY_AGAIN, "events were missed");
        }
    }

    /// Whether the whole body was sent.
    pub(crate) fn is_whole(&self) -> bool {
        let ending = self.connection.ending();
        ending.is_some_and(|ending| ending.cause == Cause::Consumer) && !self.connection.is_cut()
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("connection", &self.connection).finish_non_exhaustive()
    }
}
