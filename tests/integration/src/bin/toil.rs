//! A worker in its own process, which prints what its jobs do.
//!
//! Its arguments are the grace in milliseconds, and the names of its jobs.

use std::{env, io, process::ExitCode, thread, time::Duration};

use greenroom::{
    ChannelName, ChannelNameRouter, Envelope, Layer, MemoryLayer, Worker, WorkerContext, prelude::*,
};

#[derive(Clone, Serialize, Deserialize, Event)]
enum Toil {
    Block,
    Hold,
}

struct Toiler;

#[event_handlers]
impl Toiler {
    async fn toil(&mut self, toil: &Toil, ctx: &mut WorkerContext) -> Result<()> {
        match toil {
            Toil::Block => {
                println!("blocking");
                loop {
                    thread::park();
                }
            }
            Toil::Hold => {
                println!("holding");
                ctx.stopping().await;
                println!("asked to stop");
                ctx.run_blocking(|| io::stdin().read_line(&mut String::new())).await??;
                println!("done");
                Ok(())
            }
        }
    }
}

#[actix_web::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = env::args().skip(1);
    let grace = Duration::from_millis(arguments.next().unwrap_or_default().parse()?);
    let layer = Layer::from(MemoryLayer::new());
    for name in arguments {
        let job = Envelope::from_json(format!(r#"{{"type": "{name}"}}"#))?;
        layer.send(&ChannelName::new("toil")?, job).await?;
    }
    let router = ChannelNameRouter::new().channel("toil", |_| Ok(Toiler));
    match Worker::new(layer, router)?.grace(grace).run().await {
        Ok(summary) => {
            println!("{} taken, {} cancelled", summary.jobs, summary.cancelled.len());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("{error}");
            Ok(ExitCode::FAILURE)
        }
    }
}
