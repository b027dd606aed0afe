//! How a consumer joins a room, and leaves it.

use std::any::type_name;

use super::{ConnectionContext, connection::Connection};
use crate::{
    GroupName, Result,
    error::Closed,
    groups::member::Member as _,
    notices::Notice,
    rooms::{Room, RoomState},
};

impl<S: RoomState> Room<S> {
    /// Joins the room and its group. If nobody is in the room, it begins now.
    ///
    /// From now on the consumer gets what is sent to the group, and can [`update`](Self::update) the state, also in
    /// `disconnect`. Its place in the room is free when this `Room` is dropped, which is usually with the consumer. To leave
    /// the group before, call [`leave`](Self::leave). Joining twice does nothing. If the room has ended, a new one begins.
    ///
    /// A join that fails or is cancelled leaves the group again, unless the consumer was in it already.
    ///
    /// # Errors
    /// [`Closed`] after the connection has ended, [`RoomError::TooMany`](crate::RoomError::TooMany) at the limit of rooms, the errors of
    /// [`group_add`](ConnectionContext::group_add), and that of the function that makes the state.
    pub async fn join(&mut self, ctx: &ConnectionContext) -> Result<()> {
        if ctx.is_closed() {
            return Err(Closed.into());
        }
        if !self.is_joined() {
            self.set_seat(None);
        } else if ctx.connection().memberships().is_in(self.group()) {
            return Ok(());
        }
        note_history::<S>(ctx, self.group());
        let mut joining = Joining::new(ctx, self.group());
        loop {
            let seat = self.enter(ctx.layer(), Some(ctx.connection().drain()))?;
            ctx.group_add(self.group()).await?;
            if seat.made().await? {
                joining.done(seat.number());
                self.set_seat(Some(seat));
                return Ok(());
            }
            // It has ended meanwhile. The next one is a new room.
        }
    }

    /// Leaves the room and its group. If nobody else is in the room, it ends.
    ///
    /// # Errors
    /// None: see [`group_discard`](ConnectionContext::group_discard).
    pub async fn leave(&mut self, ctx: &ConnectionContext) -> Result<()> {
        self.set_seat(None);
        ctx.connection().forget_room(self.group());
        ctx.group_discard(self.group()).await
    }
}

/// Warns once if the group of a room keeps its events. Whoever comes back then gets the state, and older events after it.
fn note_history<S>(ctx: &ConnectionContext, group: &GroupName) {
    let (directory, state) = (ctx.connection().hub().directory(), type_name::<S>());
    if directory.logs.policy(&directory.config, group).is_some() && Notice::RoomHistory.is_new(state, "") {
        tracing::warn!(%group, state, "the group of a room has a history: a client that comes back gets events that the state has already. Leave these groups out of LayerConfig::history");
    }
}

/// A join under way. If it fails or is cancelled, the consumer is no member because of it.
struct Joining<'a> {
    connection: &'a Connection,
    group: GroupName,
    /// Whether the consumer would not be in the group without the room.
    for_room: bool,
    is_done: bool,
}

impl<'a> Joining<'a> {
    fn new(ctx: &'a ConnectionContext, group: &GroupName) -> Self {
        let connection: &Connection = ctx.connection();
        let for_room = !connection.is_in_without_room(group);
        Self { connection, group: group.clone(), for_room, is_done: false }
    }

    fn done(&mut self, number: u64) {
        self.is_done = true;
        self.connection.note_joined_room(&self.group, number, self.for_room);
    }
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        self.connection.forget_room(&self.group);
        if self.for_room && self.connection.memberships().is_in(&self.group) {
            self.connection.hub().leave(self.connection, &self.group);
            self.connection.tell_left(&self.group);
        }
    }
}
