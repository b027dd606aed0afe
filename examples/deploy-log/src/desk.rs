//! The consumer: one open page.

use greenroom::prelude::*;

use crate::deployments::{Board, Deployments, Line};

/// What a page asks for, as `{"watch":3}`.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Command {
    /// Deploys by a plan of this name.
    Start(String),
    /// Ends a deployment, or takes it out of the queue.
    Cancel(u64),
    /// Sends what a deployment said, and from now on what it says.
    Watch(u64),
    /// Sends no more of it.
    Unwatch(u64),
}

/// Which deployment it was that this page started.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("deployment.started")]
struct Started {
    id: u64,
}

/// Why what a page asked for is not done.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("deployment.refused")]
struct Refused {
    reason: String,
}

/// One open page.
pub(crate) struct Desk {
    deployments: Deployments,
}

impl Desk {
    pub(crate) fn new(deployments: &Deployments) -> Self {
        Self { deployments: deployments.clone() }
    }
}

impl JsonConsumer for Desk {
    type Input = Command;

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        // In this order: what changes after the join comes as an event, what changed before it is in the board.
        ctx.group_add(&Deployments::group()?).await?;
        ctx.accept()?;
        ctx.send_event(&self.deployments.board())
    }

    async fn receive_json(&mut self, command: Command, ctx: &mut Context) -> Result<()> {
        match command {
            Command::Start(plan) => match self.deployments.start(&plan).await {
                Ok(id) => ctx.send_event(&Started { id }),
                Err(reason) => ctx.send_event(&Refused { reason }),
            },
            Command::Cancel(id) => {
                self.deployments.cancel(id).await;
                Ok(())
            }
            Command::Watch(id) => {
                // Joined first: a line may come twice, and its number says so, but none is missed.
                let group = Deployments::group_of(id)?;
                ctx.group_add(&group).await?;
                if let Some(log) = self.deployments.log(id) {
                    return ctx.send_event(&log);
                }
                ctx.group_discard(&group).await?;
                ctx.send_event(&Refused { reason: format!("there is no deployment {id} any more") })
            }
            Command::Unwatch(id) => ctx.group_discard(&Deployments::group_of(id)?).await,
        }
    }
}

#[event_handlers]
impl Desk {
    #[relay]
    fn deployments_changed(event: &Board) -> Result<Outgoing> {
        Outgoing::event(event)
    }

    #[relay]
    fn deployment_line(event: &Line) -> Result<Outgoing> {
        Outgoing::event(event)
    }
}
