//! What the macros write: how it behaves at run time, and that it compiles, without a warning, wherever it should.

mod handlers;
mod hygiene;
mod support;

// What must compile. Not all of it is used.
#[allow(dead_code, reason = "it only has to compile")]
#[path = "ui/consumer/pass/every_hook.rs"]
mod every_hook;
#[allow(dead_code, reason = "it only has to compile")]
#[path = "ui/consumer/pass/http.rs"]
mod http;
#[allow(dead_code, reason = "it only has to compile")]
#[path = "ui/worker/pass/jobs.rs"]
mod jobs;
#[allow(dead_code, reason = "it only has to compile")]
#[path = "ui/event/pass/names.rs"]
mod names;
#[path = "ui/event/pass/no_warnings.rs"]
mod no_warnings;
#[allow(dead_code, reason = "it only has to compile")]
#[path = "ui/event_handlers/pass/seed.rs"]
mod seed;
#[allow(dead_code, reason = "it only has to compile")]
#[path = "ui/event/pass/serde_attributes.rs"]
mod serde_attributes;
#[allow(dead_code, reason = "it only has to compile")]
#[path = "ui/event_handlers/pass/ways_to_take_an_event.rs"]
mod ways_to_take_an_event;
