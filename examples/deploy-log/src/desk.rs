//! The consumer: one open page.

use greenroom::prelude::*;

use crate::deployments::{Board, Deployments, Line};

/// A command of a page, such as `{"watch":3}`.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Command {
    /// Starts a deployment by the plan of this name.
    Start(String),
    /// Ends a deployment, or takes it out of the queue.
    Cancel(u64),
    /// Sends the output of a deployment so far, and from now on each new line.
    Watch(u64),
    /// Sends no more lines of this deployment.
    Unwatch(u64),
}

/// The number of the deployment that this page has started.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("deployment.started")]
struct Started {
    id: u64,
}

/// Why a command is refused.
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
        // Joins first: a later change comes as an event, and an earlier one is in the board.
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
                // Joins first, so that no line is missed. A line may come twice, which its number shows.
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
