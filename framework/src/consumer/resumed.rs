//! What a consumer is told of what its client has missed.

use smallvec::SmallVec;

use crate::{
    GroupName,
    history::{LostReason, Outcome},
};

/// What became of a client's places in the groups that keep their events: the argument of
/// [`Consumer::resume`](crate::Consumer::resume).
///
/// ```
/// use greenroom::{consumer::Resumed, prelude::*};
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct Reload;
///
/// #[derive(NoEvents)]
/// struct Board { group: GroupName }
///
/// impl Consumer for Board {
///     fn groups(&self) -> Vec<GroupName> { vec![self.group.clone()] }
///
///     async fn resume(&mut self, resumed: &Resumed, ctx: &mut Context) -> Result<()> {
///         if resumed.recovered() { Ok(()) } else { ctx.send_event(&Reload) }
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed(SmallVec<[(GroupName, Outcome); 1]>);

impl Resumed {
    pub(crate) fn new(outcomes: impl IntoIterator<Item = (GroupName, Outcome)>) -> Self {
        Self(outcomes.into_iter().collect())
    }

    /// Whether the client gets all that it has missed, in all of its groups.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.lost().next().is_none()
    }

    /// The groups of which the client may have missed events, and why.
    pub fn lost(&self) -> impl Iterator<Item = (&GroupName, LostReason)> {
        self.0.iter().filter_map(|(group, outcome)| match outcome {
            Outcome::Recovered => None,
            Outcome::Lost(reason) => Some((group, *reason)),
        })
    }

    /// What became of the client's place in one group. `None` if it has named none.
    #[must_use]
    pub fn of(&self, group: &GroupName) -> Option<Outcome> {
        self.0.iter().find(|(named, _)| named == group).map(|(_, outcome)| *outcome)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
