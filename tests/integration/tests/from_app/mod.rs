//! What consumers get from the App around them: its data, and whom its middleware has logged in.

mod faults;
mod mounts;
mod requests;

use std::net::SocketAddr;

use actix_web::{
    App, Error, HttpServer,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
};
use greenroom::{Mount, RunningHandle, Serve, Server, testing::Host};

const HOSTS: [Host; 2] = [Host::Direct, Host::Mounted];

/// A server with an App of the test, on this thread.
struct Served {
    address: SocketAddr,
    handle: RunningHandle,
    task: actix_web::rt::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// Starts a server whose App is made of the mount.
    fn start<T, B>(
        host: Host,
        mount: &Mount,
        app: impl Fn(&Mount) -> App<T> + Send + Sync + Clone + 'static,
    ) -> Self
    where
        T: ServiceFactory<
                ServiceRequest,
                Config = (),
                Response = ServiceResponse<B>,
                Error = Error,
                InitError = (),
            > + 'static,
        B: MessageBody + 'static,
    {
        let (address, running) = match host {
            Host::Direct => {
                let server = Server::of(mount.clone()).app(app).threads(1).bind("127.0.0.1:0").unwrap();
                (server.addresses()[0], server.start().unwrap())
            }
            Host::Mounted => {
                let mount = mount.clone();
                let server = HttpServer::new(move || app(&mount));
                let server = server.workers(1).shutdown_timeout(1).bind("127.0.0.1:0").unwrap();
                (server.addrs()[0], server.start().unwrap())
            }
            other => panic!("there is no such host here: {other:?}"),
        };
        let handle = running.handle();
        Self { address, handle, task: actix_web::rt::spawn(running) }
    }

    async fn stop(self) {
        self.handle.stop(false).await;
        self.task.await.unwrap().unwrap();
    }
}
