//! The generated code: it compiles without warnings, and does the right thing at run time.

mod handlers;
mod hygiene;
mod support;

// These files must compile. Not all of their code is used.
#[allow(dead_code, reason = "it only has to compile")]
#[path = "ui/consumer/pass/every_hook.rs"]
mod every_hook;
#[allow(dead_code, reason = "it only has to compile")]
#[path = "ui/event_handlers/pass/forms.rs"]
mod forms;
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
#[path = "ui/event_handlers/pass/shared.rs"]
mod shared;
#[path = "ui/event/pass/transient.rs"]
mod transient;
#[allow(dead_code, reason = "it only has to compile")]
#[path = "ui/event_handlers/pass/ways_to_take_an_event.rs"]
mod ways_to_take_an_event;
