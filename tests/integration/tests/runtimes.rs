//! What works under tokio's own macros, and what says which of actix's to write.

use std::{panic::AssertUnwindSafe, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, web};
use futures_util::FutureExt as _;
use greenroom::{
    ChannelNameRouter, Drain, Layer, MemoryLayer, Mount, Server, Worker, WorkerContext,
    prelude::*,
    testing::{DetachedContext, Host, HttpCommunicator, LiveServer, WebsocketCommunicator},
};
use integration_tests::{Client, PATIENCE, http::Http, raw::Raw};
use tokio::time::timeout;

#[derive(NoEvents)]
struct Echo;

impl Consumer for Echo {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        // The address is that of an actor, which needs a runtime on the server's thread.
        let _ = ctx.address();
        ctx.send_text(message.text()?.to_owned())
    }
}

fn mount() -> Mount {
    Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Echo))).unwrap()
}

async fn talk(server: &LiveServer) {
    let mut client = Client::connect(server, "/").await;
    client.send("hello").await;
    assert_eq!(client.text().await, "hello");
    assert_eq!(client.close().await.0, 1000);
}

/// The text of the panic of a call.
async fn panic_of(call: impl Future<Output = ()>) -> String {
    let panic = AssertUnwindSafe(call).catch_unwind().await.expect_err("it panics");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).expect("a text")
}

#[tokio::test]
async fn a_live_server_works_in_every_test() {
    for host in [Host::Direct, Host::Mounted] {
        talk(&LiveServer::start_on(host, &mount(), 1).unwrap()).await;
    }
}

#[tokio::test]
async fn servers_and_workers_run_under_tokios_main() {
    let drain = Drain::new();
    let mount = mount().drain(drain.clone());
    let direct = Server::of(mount.clone()).threads(1).bind("127.0.0.1:0").unwrap();
    let mounted = HttpServer::new(move || App::new().configure(mount.configure()))
        .workers(1)
        .bind("127.0.0.1:0")
        .unwrap();
    let addresses = [direct.addresses()[0], mounted.addrs()[0]];
    let deadline = Duration::from_secs(10);
    let clients = async {
        for address in addresses {
            let mut client = Raw::connect(address, "/").await;
            client.text("hello").await;
            assert_eq!(client.next_text().await, "hello");
        }
        drain.drain(deadline).await;
    };
    let both = async {
        tokio::join!(
            greenroom::run_with(direct, drain.clone(), deadline),
            greenroom::run_with(mounted, drain.clone(), deadline),
            clients
        )
    };
    let (direct, mounted, ()) = timeout(PATIENCE, both).await.expect("they end");
    direct.unwrap();
    mounted.unwrap();

    #[derive(Clone, Serialize, Deserialize, Event)]
    struct Job {}
    struct Jobs;
    #[event_handlers]
    impl Jobs {
        async fn job(&mut self, _: &Job, _: &mut WorkerContext) -> Result<()> {
            Ok(())
        }
    }
    let router = ChannelNameRouter::new().channel("jobs", |_| Ok(Jobs));
    let worker = Worker::new(Layer::from(MemoryLayer::new()), router).unwrap().start().unwrap();
    assert_eq!(worker.stop().await.unwrap().failed, 0);
}

#[tokio::test]
async fn a_communicator_outside_of_actixs_runtime_names_the_macro_to_write() {
    let mut websocket = WebsocketCommunicator::of(|_: &Scope| Ok(Echo));
    let mut http = HttpCommunicator::new(&mount(), "GET", "/");
    for text in [
        panic_of(async { drop(websocket.connect().await) }).await,
        panic_of(async { drop(http.send().await) }).await,
        panic_of(async { drop(DetachedContext::of::<Echo>()) }).await,
    ] {
        assert!(text.contains("`#[actix_web::test]` in place of `#[tokio::test]`"), "{text}");
        assert!(text.contains("`#[actix_web::main]` in place of `#[tokio::main]`"), "{text}");
    }
}

#[test]
fn a_server_or_a_worker_without_any_runtime_is_an_error() {
    let server = Server::of(mount()).bind("127.0.0.1:0").unwrap();
    let error = futures_util::FutureExt::now_or_never(server.run()).expect("at once").unwrap_err();
    assert!(error.to_string().contains("write `#[actix_web::main]`"), "{error}");
}

#[actix_web::test]
async fn a_server_with_an_impossible_number_of_threads_does_not_start() {
    for count in [0, 513] {
        let server = Server::of(mount()).threads(count).bind("127.0.0.1:0").unwrap();
        let error = timeout(PATIENCE, server.run()).await.expect("at once").unwrap_err();
        assert_eq!(error.to_string(), format!("a server has 1 to 512 threads, and not {count}"));
    }
}

#[actix_web::test]
async fn a_live_server_serves_ones_own_app_on_both_hosts() {
    for host in [Host::Direct, Host::Mounted] {
        let server = LiveServer::start_app_on(host, &mount(), 1, |mount| {
            App::new()
                .app_data(web::Data::new("from the App".to_owned()))
                .route(
                    "/own",
                    web::get().to(|text: web::Data<String>| async move {
                        HttpResponse::Ok().body(text.to_string())
                    }),
                )
                .configure(mount.configure())
        })
        .unwrap();
        let (head, body) = Http::open(server.address()).await.ask("GET", "/own", &[], b"").await;
        assert_eq!((head.status, body.as_str()), (200, "from the App"), "{host:?}");
        talk(&server).await;
        timeout(PATIENCE, server.wait_until_empty()).await.expect("its connections are those of the mount");
    }
}
