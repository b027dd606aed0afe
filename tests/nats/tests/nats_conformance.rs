//! The conformance suite over `NatsLayer`.

use std::path::PathBuf;

use conformance_tests::{
    Server,
    faulty::{FaultyServer, Logins, ServerProcess, Settings},
    history::LogServer,
};
use greenroom::{
    Layer, LayerConfig, LayerError,
    history::History,
    layers::nats::{Away, NatsConfig, NatsLayer},
};
use nats_tests::NatsServer;
use serde_json::json;

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
        let layer = NatsLayer::new(settings_of(&settings)).unwrap();
        let ready = layer.ready().await;
        (layer.into(), ready)
    }
}

fn settings_of(settings: &Settings) -> NatsConfig {
    NatsConfig::new(settings.url("nats"))
        .away(if settings.must { Away::Error } else { Away::Local })
        .timeout(settings.timeout)
        .queue_bytes(settings.queue_bytes)
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

/// All groups have a log in JetStream.
struct Logged(NatsServer);

impl Server for Logged {
    const KEEPS_EVENTS: bool = true;
    const STORES: bool = false;

    async fn start() -> Self {
        Self(NatsServer::jetstream_configured("max_payload: 8MB"))
    }

    async fn make(&self, config: LayerConfig) -> Layer {
        let config = NatsConfig::new(self.0.url()).layer(config.history("*", History::last(10_000)));
        let layer = NatsLayer::new(config).unwrap();
        layer.ready().await.unwrap();
        layer.into()
    }
}

impl FaultyServer for Logged {
    const NAME: &'static str = "NATS";
    const LOGINS: Logins = Nats::LOGINS;

    fn start() -> Self {
        Self(NatsServer::jetstream())
    }

    fn guarded() -> Self {
        Self(NatsServer::jetstream_with(&["--user", "ann", "--pass", "right"]))
    }

    fn process(&mut self) -> &mut ServerProcess {
        &mut self.0
    }

    async fn open(settings: Settings) -> (Layer, Result<(), LayerError>) {
        let config = settings_of(&settings).history("*", History::last(10_000));
        let layer = NatsLayer::new(config).unwrap();
        let ready = layer.ready().await;
        (layer.into(), ready)
    }
}

impl LogServer for Logged {
    /// The folder of its files.
    type Copy = PathBuf;

    fn start() -> Self {
        Self(NatsServer::jetstream())
    }

    fn process(&mut self) -> &mut ServerProcess {
        &mut self.0
    }

    async fn open(settings: Settings, config: LayerConfig) -> Layer {
        let layer = NatsLayer::new(settings_of(&settings).layer(config)).unwrap();
        layer.ready().await.unwrap();
        layer.into()
    }

    async fn delete_log(&mut self) {
        assert_eq!(self.0.ask_stream("DELETE", json!({})).await["success"], true);
    }

    async fn delete_entries(&mut self) {
        assert_eq!(self.0.ask_stream("PURGE", json!({})).await["success"], true);
    }

    async fn copy(&mut self) -> PathBuf {
        self.0.copy_files()
    }

    async fn go_back(&mut self, copy: PathBuf) {
        self.0.kill();
        self.0.put_files(&copy);
        self.0.restart();
    }

    async fn lose_all(&mut self) {
        self.0.kill();
        self.0.lose_files();
        self.0.restart();
    }
}

mod logged {
    // Members of these groups miss nothing, and are told of no gap: `log_faults!` has the outages.
    conformance_tests::tests! {
        super::Logged, []
        outages::a_join_is_in_force_when_it_returns,
        endings::consumers_work_after_their_layer_is_closed,
        endings::close_writes_events_that_still_wait,
        reports::a_wrong_address_or_password_is_reported_at_once,
        reports::an_unreachable_server_is_logged_once_for_each_reason,
        reports::a_wrong_password_is_logged_once,
        reports::only_the_sender_is_told_that_a_message_is_too_large,
    }
    conformance_tests::every_layer!(super::Logged);
    conformance_tests::processes!(super::Logged);
    conformance_tests::history!(super::Logged);
    conformance_tests::log_faults!(super::Logged);
    conformance_tests::workers!(super::Logged);
}

/// All groups keep their events, but the server has no JetStream.
struct Own(NatsServer);

impl Server for Own {
    const KEEPS_EVENTS: bool = true;
    const STORES: bool = false;

    async fn start() -> Self {
        Self(NatsServer::configured("max_payload: 8MB"))
    }

    async fn make(&self, config: LayerConfig) -> Layer {
        let config = NatsConfig::new(self.0.url()).layer(config.history("*", History::last(10_000)));
        let layer = NatsLayer::new(config).unwrap();
        layer.ready().await.unwrap();
        layer.into()
    }
}

mod own_logs {
    conformance_tests::every_layer!(super::Own);
    conformance_tests::processes!(super::Own);
}
