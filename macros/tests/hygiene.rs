//! The generated code uses no names of the module around it.
#![deny(warnings)]

use crate::support;

/// Like `shadowed`, without the primitive types: serde's derives write those without a path.
mod events {
    #![allow(dead_code, reason = "these names only have to be in scope")]

    pub(super) struct Result;
    pub(super) struct Option;
    pub(super) struct String;
    pub(super) struct Vec;
    pub(super) mod core {}
    pub(super) mod std {}
    pub(super) mod greenroom {}
    pub(super) trait Event {}

    #[derive(Clone, ::serde::Serialize, ::serde::Deserialize, ::greenroom::Event)]
    #[serde(crate = "::serde")]
    pub(super) struct Said {
        pub(super) text: ::std::string::String,
    }

    #[derive(Clone, ::serde::Serialize, ::serde::Deserialize, ::greenroom::Event)]
    #[serde(crate = "::serde")]
    pub(super) enum Light {
        On,
        Off,
    }
}

/// Each name that generated code could use by accident has another meaning in this module.
mod shadowed {
    #![allow(
        dead_code,
        unused_imports,
        non_camel_case_types,
        non_upper_case_globals,
        reason = "these names only have to be in scope"
    )]

    pub(super) struct Result;
    pub(super) struct Option;
    pub(super) struct String;
    pub(super) struct Vec;
    pub(super) struct Outgoing;
    pub(super) struct Context;
    pub(super) struct Envelope;
    pub(super) struct Handled;
    pub(super) struct str;
    pub(super) struct usize;
    pub(super) enum Mine {
        Ok,
        Err,
        Some,
        None,
    }
    pub(super) use Mine::*;
    pub(super) const name: u8 = 0;
    pub(super) const event: u8 = 0;
    pub(super) mod core {}
    pub(super) mod std {}
    pub(super) mod serde {}
    pub(super) mod greenroom {}
    pub(super) trait Event {}

    use super::events::{Light, Said};

    pub(super) struct Consumer(pub(super) ::std::vec::Vec<::std::string::String>);

    impl ::greenroom::Consumer for Consumer {}

    #[::greenroom::event_handlers]
    impl Consumer {
        async fn said(&mut self, said: Said, _: &mut ::greenroom::Context) -> ::greenroom::Result<()> {
            self.0.push(said.text);
            ::greenroom::Result::Ok(())
        }

        async fn light(&mut self, _: &Light, _: &mut ::greenroom::Context) -> ::greenroom::Result<()> {
            self.0.push(::std::string::String::from("light"));
            ::greenroom::Result::Ok(())
        }
    }

    pub(super) struct Relay;

    #[::greenroom::event_handlers]
    impl Relay {
        #[relay]
        fn said(said: &Said) -> ::greenroom::Outgoing {
            ::greenroom::Outgoing::text(said.text.as_str())
        }
    }

    #[derive(::greenroom::NoEvents)]
    pub(super) struct Silent;
}

#[test]
fn a_module_may_shadow_everything() {
    use events::{Light, Said};
    use greenroom::{EventHandlers, Handled, Outgoing};
    use shadowed::{Consumer, Relay, Silent};

    let said = Said { text: "hi".into() };
    let mut consumer = Consumer(vec![]);
    assert_eq!(support::handle(&mut consumer, said.clone()).unwrap(), Handled::Yes);
    assert_eq!(support::handle(&mut consumer, Light::Off).unwrap(), Handled::Yes);
    assert_eq!(consumer.0, ["hi", "light"]);
    assert_eq!(<Relay as EventHandlers>::relay(&said.clone().into()).unwrap().unwrap(), Outgoing::text("hi"));
    assert_eq!(support::handle(&mut Silent, said).unwrap(), Handled::Unknown);
}

/// The words that another macro writes have their own hygiene.
#[test]
fn another_macro_may_write_the_block() {
    macro_rules! counter {
        ($consumer:ident, $method:ident, $event:ty) => {
            struct $consumer(usize);

            #[greenroom::event_handlers]
            impl $consumer {
                async fn $method(
                    &mut self,
                    _event: $event,
                    _: &mut greenroom::Context,
                ) -> greenroom::Result<()> {
                    self.0 += 1;
                    Ok(())
                }
            }
        };
    }
    counter!(Counter, said, &events::Said);

    let mut counter = Counter(0);
    let said = events::Said { text: "hi".into() };
    assert_eq!(support::handle(&mut counter, said).unwrap(), greenroom::Handled::Yes);
    assert_eq!(counter.0, 1);
}
