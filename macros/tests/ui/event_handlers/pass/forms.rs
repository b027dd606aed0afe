//! Forms of blocks and events that are right, though a macro sees only their words.
#![deny(warnings)]

use std::sync::Arc;

use greenroom::prelude::*;

/// The library under another name, as a crate sees it that renames the dependency, or that uses another crate's.
mod another_name {
    mod library {
        pub(super) mod gr {
            pub(in super::super) use greenroom::*;
        }
    }

    use self::library::gr;

    #[derive(Clone, gr::prelude::Serialize, gr::prelude::Deserialize, gr::Event)]
    #[event("moved", crate = "self::library::gr")]
    struct Moved {}

    #[derive(Clone, gr::prelude::Serialize, gr::prelude::Deserialize, gr::Event)]
    #[event(crate = "self::library::gr")]
    enum Light {
        On,
        Off,
    }

    #[derive(gr::NoEvents)]
    #[event(crate = "self::library::gr")]
    struct Silent;

    impl gr::Consumer for Silent {}

    struct Lamp;

    impl gr::Consumer for Lamp {}

    #[gr::event_handlers(crate = "self::library::gr", all(Light))]
    impl Lamp {
        async fn moved(&mut self, _event: &Moved, _ctx: &mut gr::Context) -> gr::Result<()> {
            Ok(())
        }

        #[relay]
        fn light(event: &Light) -> gr::Outgoing {
            gr::Outgoing::text(match event {
                Light::On => "on",
                Light::Off => "off",
            })
        }
    }
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Tick {}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Tock {}

#[derive(Clone, Serialize, Deserialize, Event)]
struct News {}

/// An enum may have one variant. A method named for the enum takes it whole.
#[derive(Clone, Serialize, Deserialize, Event)]
enum Door {
    #[event("door.opened")]
    Opened { by: String },
}

#[deprecated]
#[derive(Clone, Serialize, Deserialize, Event)]
struct Old {}

macro_rules! shared {
    ($consumer:ty, $reference:ty, $arc:path, $value:path) => {
        #[event_handlers]
        impl $consumer {
            async fn tick(&mut self, _event: &$reference, _ctx: &mut Context) -> Result<()> {
                Ok(())
            }

            async fn tock(&mut self, _event: Arc<$arc>, _ctx: &mut Context) -> Result<()> {
                Ok(())
            }

            async fn news(&mut self, _event: $value, _ctx: &mut Context) -> Result<()> {
                Ok(())
            }
        }
    };
}

struct First;

impl Consumer for First {}

shared!(First, Tick, Tock, News);

struct Borrowing<'a>(&'a str);

impl Consumer for Borrowing<'static> {}

#[event_handlers]
impl Borrowing<'_> {
    async fn door(&mut self, event: &Door, ctx: &mut Context) -> Result<()> {
        let Door::Opened { by } = event;
        ctx.send(format!("{by} {}", self.0))
    }

    #[allow(deprecated)]
    async fn old(&mut self, _event: &Old, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }

    // The condition of the condition decides, as in the compiler.
    #[cfg_attr(all(), cfg(any()))]
    async fn tick(&mut self, _event: &NotThere, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }

    #[cfg_attr(any(), cfg(any()), doc = "…")]
    async fn tock(&mut self, _event: &Tock, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

#[test]
fn compiles() {
    assert_eq!(<First as greenroom::EventHandlers>::events(), ["tick", "tock", "news"]);
    assert_eq!(<Borrowing<'static> as greenroom::EventHandlers>::events(), ["door.opened", "old", "tock"]);
}
