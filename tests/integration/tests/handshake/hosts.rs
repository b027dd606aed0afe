//! Which hosts a request may name: against pages of other sites whose name stands for this machine (DNS rebinding).

use std::net::SocketAddr;

use actix_web::{App, HttpServer, web};
use greenroom::{
    Fallback, Mount, ProtocolTypeRouter, Serve, Server,
    middleware::{AllowedHosts, TrustedProxies},
    prelude::*,
    testing::{Host, LiveServer},
};
use integration_tests::{
    log,
    raw::{Raw, Request},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{plain, routes};

const HOSTS: [Host; 2] = [Host::Direct, Host::Mounted];

/// Routes of actix-web beside those of consumers, in the same program.
#[actix_web::test]
async fn routes_of_the_app_can_be_guarded_too() {
    let application = || {
        let routes = routes().wrap(AllowedHosts::new(["chat.example.org"]));
        ProtocolTypeRouter::new().websocket(routes).http(|config| {
            let own = web::scope("").guard(AllowedHosts::new(["chat.example.org"]));
            config.service(own.route("/own", web::get().to(|| async { "own" })));
        })
    };
    for host in HOSTS {
        let server = LiveServer::start_on(host, &Mount::new(application()).unwrap(), 1).unwrap();
        for (name, status) in [("chat.example.org:80", 200), ("localhost", 200), ("evil.example", 404)] {
            let request = plain("GET", "/own").and("Host", name);
            assert_eq!(
                Raw::open(server.address()).await.ask(&request).await.status,
                status,
                "{host:?} {name}"
            );
        }
        assert_eq!(answers(server.address(), "chat.example.org", &[]).await, IN, "{host:?}");
    }
}

fn start(host: Host, routes: UrlRouter) -> LiveServer {
    LiveServer::start_on(host, &Mount::new(routes).unwrap(), 1).unwrap()
}

/// The answers to a page under this host, by each way to a consumer: a WebSocket, a fallback transport, and an HTTP
/// consumer without and with an `Origin`.
async fn answers(address: SocketAddr, host: &str, more: &[(&str, &str)]) -> [u16; 4] {
    let origin = format!("http://{host}");
    let asked = [
        Request::new("/ws/").and("Origin", &origin),
        plain("POST", "/ws/?greenroom=open").and("Origin", &origin),
        plain("GET", "/page"),
        plain("POST", "/page").and("Origin", &origin),
    ];
    let mut statuses = [0; 4];
    for (request, status) in asked.into_iter().zip(&mut statuses) {
        let request =
            more.iter().fold(request.and("Host", host), |request, (name, value)| request.and(name, value));
        *status = Raw::open(address).await.ask(&request).await.status;
    }
    statuses
}

const IN: [u16; 4] = [101, 200, 200, 200];
const OUT: [u16; 4] = [403; 4];

#[actix_web::test]
async fn a_page_of_another_name_cannot_reach_a_loopback_address() {
    log::capture();
    for host in HOSTS {
        let server = start(host, routes());
        let port = server.address().port();
        for own in
            ["localhost", "LOCALHOST", "localhost.", "chat.localhost", "127.0.0.1", "127.0.0.7", "[::1]"]
        {
            assert_eq!(answers(server.address(), &format!("{own}:{port}"), &[]).await, IN, "{host:?} {own}");
        }
        for other in ["rebound.example", "localhost.evil.example", "127.0.0.1.evil.example", "u@localhost"] {
            assert_eq!(
                answers(server.address(), &format!("{other}:{port}"), &[]).await,
                OUT,
                "{host:?} {other}"
            );
        }
        // The line says what to write.
        let line = ["WARN", &format!("rebound.example:{port}"), "AllowedHosts::new"];
        log::logged(&line).await;
    }
}

#[actix_web::test]
async fn every_host_that_a_request_names_is_checked() {
    for host in HOSTS {
        let server = start(host, routes());
        let address = server.address();
        let own = address.to_string();
        let twice = Request::new("/ws/").and("Host", &own).and("Host", "evil.example");
        assert_eq!(Raw::open(address).await.ask(&twice).await.status, 400, "{host:?}");
        let target = Request::new("http://evil.example/ws/").and("Host", &own);
        assert_eq!(Raw::open(address).await.ask(&target).await.status, 403, "{host:?}");
        let target = Request::new(&format!("http://{own}/ws/")).and("Host", &own);
        assert_eq!(Raw::open(address).await.ask(&target).await.status, 101, "{host:?}");
        // Browsers always send a Host. The check of a load balancer may not.
        let mut old = Raw::open(address).await;
        old.send(b"GET /page HTTP/1.0\r\n\r\n").await;
        assert_eq!(old.response().await.status, 200, "{host:?}");
        let mut bytes = Raw::open(address).await;
        bytes.send(b"GET /page HTTP/1.1\r\nHost: localhost\xff\r\n\r\n").await;
        assert_eq!(bytes.response().await.status, 403, "{host:?}");
    }
}

/// nginx with `proxy_set_header Host $host`, and the server on a loopback address.
#[actix_web::test]
async fn behind_a_proxy_the_names_that_it_passes_on_are_listed() {
    for host in HOSTS {
        let server = start(host, routes());
        assert_eq!(answers(server.address(), "chat.example.org", &[]).await, OUT, "{host:?}");
        let server = start(host, routes().wrap(AllowedHosts::new(["chat.example.org"])));
        assert_eq!(answers(server.address(), "chat.example.org", &[]).await, IN, "{host:?}");
        assert_eq!(answers(server.address(), "evil.example", &[]).await, OUT, "{host:?}");
    }
}

/// A page may send the headers of a proxy with `fetch`, and it comes from 127.0.0.1, as the proxy does.
#[actix_web::test]
async fn a_page_cannot_pass_as_the_proxy_of_this_machine() {
    let proxies = || TrustedProxies::new(["127.0.0.1"]);
    for host in HOSTS {
        let server = start(host, routes().wrap(proxies()));
        for said in ["localhost", "evil.example"] {
            let lies = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Host", said)];
            assert_eq!(answers(server.address(), "evil.example", &lies).await, OUT, "{host:?} {said}");
        }
        // nginx without `proxy_set_header Host` sends the address.
        let request = Request::new("/ws/")
            .and("Origin", "https://chat.example.org")
            .and("X-Forwarded-For", "192.0.2.1")
            .and("X-Forwarded-Proto", "https")
            .and("X-Forwarded-Host", "chat.example.org");
        assert_eq!(Raw::open(server.address()).await.ask(&request).await.status, 101, "{host:?}");
    }
}

#[actix_web::test]
async fn other_listeners_allow_all_names_until_names_are_listed() {
    for (hosts, expected) in [(None, IN), (Some("chat.example.org"), OUT)] {
        let routes = hosts.into_iter().fold(routes(), |routes, name| routes.wrap(AllowedHosts::new([name])));
        let mount = Mount::new(routes).unwrap().fallback(Fallback::new());
        let direct = Server::of(mount.clone()).threads(1).bind("0.0.0.0:0").unwrap();
        let mounted = HttpServer::new({
            let mount = mount.clone();
            move || App::new().configure(mount.configure())
        });
        let mounted = mounted.workers(1).shutdown_timeout(1).bind("0.0.0.0:0").unwrap();
        let ports = [direct.addresses()[0].port(), mounted.addrs()[0].port()];
        let running = [direct.start().unwrap(), mounted.start().unwrap()];
        for (running, port) in running.into_iter().zip(ports) {
            let handle = running.handle();
            let running = actix_web::rt::spawn(running);
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            assert_eq!(answers(address, "other.example", &[]).await, expected, "{hosts:?}");
            assert_eq!(answers(address, "chat.example.org", &[]).await, IN, "{hosts:?}");
            handle.stop(false).await;
            running.await.unwrap().unwrap();
        }
    }
}

/// A browser cannot reach a Unix socket, so there is a proxy.
#[actix_web::test]
async fn a_unix_socket_allows_all_names() {
    let folder = std::env::temp_dir().join(format!("greenroom-hosts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let paths = [folder.join("direct"), folder.join("mounted")];
    let mount = Mount::new(routes()).unwrap();
    let direct = Server::of(mount.clone()).threads(1).bind_unix(&paths[0]).unwrap();
    let mounted = HttpServer::new(move || App::new().configure(mount.configure()));
    let mounted = mounted.workers(1).shutdown_timeout(1).bind_uds(&paths[1]).unwrap();
    for (running, path) in [direct.start().unwrap(), mounted.start().unwrap()].into_iter().zip(&paths) {
        let handle = running.handle();
        let running = actix_web::rt::spawn(running);
        let mut client = UnixStream::connect(path).await.unwrap();
        let request = b"GET /page HTTP/1.1\r\nHost: chat.example.org\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path:?}: {answer}");
        handle.stop(false).await;
        running.await.unwrap().unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
