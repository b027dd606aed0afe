//! The consumer: one person in an arena, a player or a spectator.

use greenroom::{Room, prelude::*};

use crate::arena::{Arena, Removed, Shown, Wish};

pub(crate) struct Person(pub(crate) Room<Arena>);

impl JsonConsumer for Person {
    type Input = Wish;

    /// A person without a name only watches.
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        self.0.join(ctx).await?;
        ctx.accept()?;
        let name = ctx.scope().query_param("name").map(|name| name.chars().take(24).collect());
        Ok(self.0.update(|arena, events| arena.enter(name, ctx.channel_name(), events)).await?)
    }

    async fn receive_json(&mut self, wish: Wish, ctx: &mut Context) -> Result<()> {
        Ok(self.0.update(|arena, events| arena.act(&ctx.channel_name(), wish, events)).await?)
    }

    async fn disconnect(&mut self, _reason: Disconnect, ctx: &mut Context) {
        // If this fails, the arena has ended, and its players with it.
        let _ = self.0.update(|arena, events| arena.leave(&ctx.channel_name(), events)).await;
    }
}

#[event_handlers]
impl Person {
    /// Of the places, only the newest wait for a client that reads slowly.
    #[relay]
    fn shown(event: &Shown) -> Result<Outgoing> {
        let message = Outgoing::event(event)?;
        Ok(if let Shown::Moved { .. } = event { message.keyed("moved") } else { message })
    }

    async fn removed(&mut self, _event: &Removed, ctx: &mut Context) -> Result<()> {
        ctx.close_with(4001, "the host removed you")
    }
}
