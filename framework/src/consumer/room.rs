//! How a consumer joins a room, and leaves it.

use super::ConnectionContext;
use crate::{
    Result,
    error::Closed,
    rooms::{Room, RoomState},
};

impl<S: RoomState> Room<S> {
    /// Joins the room and its group. If nobody is in the room, it begins now.
    ///
    /// From now on the consumer gets what is sent to the group, and can [`update`](Self::update) the state, also in
    /// `disconnect`. It leaves when this `Room` is dropped, which is usually with the consumer. Joining twice does nothing.
    /// If the room has ended, a new one begins.
    ///
    /// # Errors
    /// [`Closed`] after the connection has ended, [`RoomError::TooMany`](crate::RoomError::TooMany) at the limit of rooms, the errors of
    /// [`group_add`](ConnectionContext::group_add), and that of the function that makes the state.
    pub async fn join(&mut self, ctx: &ConnectionContext) -> Result<()> {
        if ctx.is_closed() {
            return Err(Closed.into());
        }
        if self.is_joined() {
            return Ok(());
        }
        self.set_seat(None);
        loop {
            let seat = self.enter(ctx.layer(), Some(ctx.connection().drain()))?;
            ctx.group_add(self.group()).await?;
            match seat.made().await {
                Ok(true) => {
                    self.set_seat(Some(seat));
                    return Ok(());
                }
                // It has ended meanwhile. The next one is a new room.
                Ok(false) => {}
                Err(error) => {
                    ctx.group_discard(self.group()).await?;
                    return Err(error);
                }
            }
        }
    }

    /// Leaves the room and its group. If nobody else is in the room, it ends.
    ///
    /// # Errors
    /// None: see [`group_discard`](ConnectionContext::group_discard).
    pub async fn leave(&mut self, ctx: &ConnectionContext) -> Result<()> {
        self.set_seat(None);
        ctx.group_discard(self.group()).await
    }
}
