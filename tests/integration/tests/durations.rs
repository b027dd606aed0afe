//! Each setting that is a time accepts 0 and `Duration::MAX`: nothing panics, and clients are answered.

use std::time::Duration;

use greenroom::{
    Body, ChannelName, ChannelNameRouter, Drain, Fallback, Flush, HttpConsumer, HttpContext, Layer,
    LayerConfig, Limits, MemoryLayer, Mount, Pace, Serve, Server, Worker, WorkerContext,
    prelude::*,
    testing::{LiveServer, WebsocketCommunicator, pause},
    worker::JobLimits,
};
use integration_tests::{Log, eventually, http::Http};

const TIMES: [Duration; 2] = [Duration::ZERO, Duration::MAX];

#[derive(Clone, Serialize, Deserialize, Event)]
struct Tick {}

/// Sends each message back, and starts timers of the time that it has.
#[derive(Clone, NoEvents)]
struct Subject(Duration);

impl Consumer for Subject {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.notify_later(Tick {}, self.0)?;
        if !self.0.is_zero() {
            ctx.notify_every(Tick {}, self.0)?;
        }
        ctx.accept()
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(message.text()?.to_owned())
    }
}

#[derive(Clone, NoEvents)]
struct Page;

impl HttpConsumer for Page {
    async fn handle(&mut self, _: Body, ctx: &mut HttpContext) -> Result<()> {
        ctx.send_response(200, &[], "whole")
    }
}

/// Limits with this time in each setting.
fn limits(time: Duration) -> Limits {
    Limits::new()
        .flush(Flush::WhenBehind(time))
        .connect_timeout(time)
        .response_timeout(time)
        .ping_interval(time)
        .pong_timeout(time)
        .idle_timeout(time)
        .frame_timeout(time)
        .write_timeout(time)
        .close_timeout(time)
        .disconnect_grace(time)
}

fn mount(time: Duration, limits: Limits) -> Mount {
    let routes = UrlRouter::new()
        .route("/ws/", move |_: &Scope| Ok(Subject(time)))
        .http("/page/", |_: &Scope| Ok(Page));
    Mount::new(routes).unwrap().limits(limits).fallback(Fallback::new().wait(time).expires(time))
}

#[actix_web::test]
async fn a_connection_takes_any_time() {
    pause();
    for time in TIMES {
        let mut client = WebsocketCommunicator::new(&mount(time, limits(time)), "/ws/");
        client.connect().await.unwrap();
        client.send_text("hello");
        assert_eq!(client.receive_text().await.unwrap(), "hello", "{time:?}");
        client.disconnect().await;

        let mut client = WebsocketCommunicator::new(&mount(time, Limits::new()), "/ws/").timeout(time);
        client.connect().await.unwrap();
        client.send_text("hello");
        // With no time at all, only what is there already can be received.
        let received = client.receive_text().await;
        assert!(received.is_ok() || time.is_zero(), "{received:?}");
        if time.is_zero() {
            assert_eq!(client.shut_down(time).await, 1);
        }
    }
    let every = mount(Duration::ZERO, Limits::new().flush(Flush::Every(Duration::ZERO)));
    let mut client = WebsocketCommunicator::new(&every, "/ws/");
    client.connect().await.unwrap();
    client.send_text("hello");
    assert_eq!(client.receive_text().await.unwrap(), "hello");
}

#[actix_web::test]
async fn requests_and_fallback_connections_take_any_time() {
    for time in TIMES {
        let server = LiveServer::start(&mount(time, limits(time)), 1).unwrap();
        let mut http = Http::open(server.address()).await;
        // A body that comes with its head has come in time.
        for (method, path) in [("GET", "/page/"), ("POST", "/ws/?greenroom=open")] {
            let (head, body) = http.ask(method, path, &[("greenroom-client", "1")], b"").await;
            assert_eq!(head.status, 200, "{time:?} {path}: {body:?}");
        }
    }
}

#[actix_web::test]
async fn a_server_takes_any_time() {
    for time in TIMES {
        let routes = UrlRouter::new().http("/page/", |_: &Scope| Ok(Page));
        let drain = Drain::with_pace(Pace::new().window(time).retry(time, time));
        let server = Server::new(routes).unwrap().threads(1).request_timeout(time).keep_alive(time);
        let server = server.drain(drain.clone()).bind("127.0.0.1:0").unwrap();
        let address = server.addresses()[0];
        let running = server.start().unwrap();
        let handle = running.handle();
        let running = actix_web::rt::spawn(running);
        // With no time at all, a request whose bytes are not there yet is late.
        let status = Http::open(address).await.get("/page/").await.status;
        assert!(status == 200 || (time.is_zero() && status == 408), "{time:?}: {status}");
        // The answer is here before the exchange has ended.
        eventually("the exchange has ended", || drain.connections() == 0).await;
        assert_eq!(drain.drain(time).await, 0);
        handle.stop(false).await;
        running.await.unwrap().unwrap();
    }
}

/// Notes each job.
#[derive(Clone)]
struct Clerk(Log);

#[event_handlers]
impl Clerk {
    async fn tick(&mut self, _: Tick, _: &mut WorkerContext) -> Result<()> {
        self.0.note("done");
        Ok(())
    }
}

#[actix_web::test]
async fn layers_and_workers_take_any_time() {
    for time in TIMES {
        let layer = Layer::from(MemoryLayer::with_config(LayerConfig::new().expiry(time).group_expiry(time)));
        let (queue, group) = (layer.new_channel().await.unwrap(), GroupName::new("room").unwrap());
        layer.group_add(&group, &queue).await.unwrap();
        layer.group_send(&group, Tick {}).await.unwrap();
        layer.send(&queue, Tick {}).await.unwrap();

        let layer = Layer::from(MemoryLayer::new());
        let log = Log::default();
        let made = log.clone();
        let limits = JobLimits::new().timeout(time);
        let router = ChannelNameRouter::new().channel_with("jobs", limits, move |_| Ok(Clerk(made.clone())));
        let worker = Worker::new(layer.clone(), router).unwrap().job_timeout(time).grace(time);
        let worker = worker.start().unwrap();
        layer.send(&ChannelName::new("jobs").unwrap(), Tick {}).await.unwrap();
        eventually("the job is done", || log.lines() == ["done"]).await;
        assert_eq!(worker.stop().await.unwrap().jobs, 1, "{time:?}");
    }
}
