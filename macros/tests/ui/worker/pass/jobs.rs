//! Consumers of a worker: a struct and an enum of jobs, generics, and the context by its full path.

use std::{marker::PhantomData, sync::Arc};

use greenroom::{ChannelNameRouter, Event, Result, WorkerContext, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("thumbnail.generate")]
struct Generate {
    id: u64,
}

#[derive(Clone, Serialize, Deserialize, Event)]
enum Mail {
    #[event("mail.send")]
    Send { to: String },
    #[event("mail.flush")]
    Flush,
}

struct Thumbnails {
    made: Vec<u64>,
}

#[event_handlers]
impl Thumbnails {
    async fn thumbnail_generate(&mut self, job: &Generate, _ctx: &mut WorkerContext) -> Result<()> {
        self.made.push(job.id);
        Ok(())
    }
}

struct Mails<T>(PhantomData<T>);

#[event_handlers]
impl<T> Mails<T> {
    async fn mail(&mut self, job: Mail, ctx: &mut greenroom::worker::WorkerContext) -> Result<()> {
        match job {
            Mail::Send { to } => assert!(!to.is_empty()),
            Mail::Flush => assert!(!ctx.is_stopping()),
        }
        Ok(())
    }

    #[on("thumbnail.generate")]
    async fn told(&mut self, job: Arc<Generate>, _ctx: &mut greenroom::WorkerContext) -> Result<()> {
        drop(job);
        Ok(())
    }
}

#[test]
fn compiles() {
    let router = ChannelNameRouter::new()
        .channel("thumbnails", |_| Ok(Thumbnails { made: Vec::new() }))
        .channel("mails", |_| Ok(Mails::<u8>(PhantomData)));
    drop(greenroom::Worker::new(greenroom::MemoryLayer::new(), router).unwrap());
}
