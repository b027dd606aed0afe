//! The thread that hands what comes from a server to the members.
//!
//! It is a separate thread because relays are user code, which may be slow.

use std::{io, sync::Arc, thread};

use tokio::sync::mpsc::UnboundedReceiver;

use super::{driver::Driver, inbound::Inbound, shared::Shared};
use crate::{Envelope, layers::LayerGap};

/// Starts the thread that delivers, one message after the other. It ends when the last sender is dropped.
pub(super) fn start<D: Driver>(
    name: &str,
    shared: Arc<Shared<D>>,
    mut inbound: UnboundedReceiver<Inbound<D::Source, D::Over>>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = async move {
        while let Some(next) = inbound.recv().await {
            match next {
                Inbound::Message { bytes, source, room } => D::deliver(&shared, bytes, source, room).await,
                Inbound::Direct { channel, envelope, room } => {
                    if shared.groups.send(&channel, envelope).await.is_err() {
                        shared.counters().stray.one();
                    }
                    drop(room);
                }
                Inbound::Over(over) => D::over(&shared, over),
                Inbound::Gap { groups, seconds, _room } => {
                    for group in groups {
                        let gap = Envelope::new(LayerGap::new(group.clone(), seconds));
                        shared.groups.publish(&group, gap).await;
                    }
                }
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(run))?;
    Ok(())
}
