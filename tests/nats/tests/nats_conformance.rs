//! The conformance suite over `NatsLayer`.

use conformance_tests::{
    Server,
    faulty::{FaultyServer, Logins, ServerProcess, Settings},
};
use greenroom::{
    Layer, LayerConfig, LayerError,
    layers::nats::{Away, NatsConfig, NatsLayer},
};
use nats_tests::NatsServer;

struct Nats(NatsServer);

impl Server for Nats {
    const STORES: bool = false;

    async fn start() -> Self {
        // One of the cases sends more than a megabyte, which is the default limit of a server.
        Self(NatsServer::configured("max_payload: 8MB"))
    }

    async fn make(&self, config: LayerConfig) -> Layer {
        let layer = NatsLayer::new(NatsConfig::new(self.0.url()).layer(config)).unwrap();
        layer.ready().await.unwrap();
        layer.into()
    }
}

impl FaultyServer for Nats {
    const NAME: &'static str = "NATS";
    const LOGINS: Logins = Logins {
        guest: "ann:right@",
        strangers: &["", "ann:wrong@", "wrong@"],
        denied: &["authorization violation"],
    };

    fn start() -> Self {
        Self(NatsServer::start())
    }

    fn guarded() -> Self {
        Self(NatsServer::with(&["--user", "ann", "--pass", "right"]))
    }

    fn process(&mut self) -> &mut ServerProcess {
        &mut self.0
    }

    async fn open(settings: Settings) -> (Layer, Result<(), LayerError>) {
        let config = NatsConfig::new(settings.url("nats"))
            .away(if settings.must { Away::Error } else { Away::Local })
            .timeout(settings.timeout)
            .queue_bytes(settings.queue_bytes);
        let layer = NatsLayer::new(config).unwrap();
        let ready = layer.ready().await;
        (layer.into(), ready)
    }
}

mod nats {
    conformance_tests::every_layer!(super::Nats);
    conformance_tests::moved_clock!(super::Nats, "its connections need real time");
    conformance_tests::stored!(super::Nats, "NATS stores nothing for a process that does not read");
    conformance_tests::processes!(super::Nats);
    conformance_tests::shared!(super::Nats, "NATS stores nothing, and knows no groups");
    conformance_tests::workers!(super::Nats);
    conformance_tests::faults!(super::Nats);
    conformance_tests::drops!(super::Nats);
}

/// The one case of the shared suite that needs no store: a process asks another one.
#[actix_web::test]
async fn rule_28_a_consumer_is_reached_from_another_process() {
    conformance_tests::processes::rule_28_a_consumer_is_reached_from_another_process::<Nats>().await;
}
