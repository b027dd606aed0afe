//! Listening on TCP, on several addresses, on Unix sockets, on inherited sockets, and with TLS.

use std::{
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::{Command, Stdio},
    sync::Arc,
};

use futures_util::{SinkExt as _, StreamExt as _};
use greenroom::{Limits, Server, prelude::*};
use integration_tests::{PATIENCE, raw::Raw, tungstenite::Message as Tungstenite};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::ServerName},
};
use tokio_tungstenite::client_async;

use super::{echo, serve};

#[actix_web::test]
async fn one_server_listens_on_several_addresses() {
    let server = echo().bind("127.0.0.1:0").unwrap().bind("127.0.0.2:0").unwrap();
    let addresses = server.addresses();
    assert_eq!(addresses.len(), 2);
    serve(server, async |_, drain| {
        let mut clients = Vec::new();
        for address in addresses {
            let mut client = Raw::connect(address, "/echo/").await;
            client.text("hello").await;
            assert_eq!(client.next_text().await, "hello");
            clients.push(client);
        }
        assert_eq!(drain.connections(), 2);
    })
    .await;
}

#[actix_web::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let server = echo().bind("127.0.0.1:0").unwrap();
    let address = server.addresses()[0];
    let error = echo().bind(address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[actix_web::test]
async fn a_server_that_listens_nowhere_says_what_to_call() {
    let error = echo().run().await.unwrap_err();
    assert!(error.to_string().contains("call bind"), "{error}");
}

async fn echo_over_unix(path: &std::path::Path) {
    let socket = UnixStream::connect(path).await.expect("the server listens");
    let (mut client, _) = client_async("ws://localhost/echo/", socket).await.expect("the server accepts");
    client.send(Tungstenite::text("hello")).await.unwrap();
    let answer = timeout(PATIENCE, client.next()).await.expect("an answer").unwrap().unwrap();
    assert_eq!(answer, Tungstenite::text("hello"));
}

#[actix_web::test]
async fn a_unix_socket_serves_and_its_old_file_is_replaced() {
    let folder = std::env::temp_dir().join(format!("greenroom-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    // A server that was killed leaves its file like this.
    drop(UnixListener::bind(&path).unwrap());
    serve(echo().bind_unix(&path).unwrap(), async |_, _| {
        echo_over_unix(&path).await;
        let error = echo().bind_unix(&path).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "another server listens on this socket");
    })
    .await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[actix_web::test]
async fn a_file_that_is_not_a_socket_is_not_replaced() {
    let path = std::env::temp_dir().join(format!("greenroom-file-{}", std::process::id()));
    std::fs::write(&path, "precious").unwrap();
    echo().bind_unix(&path).unwrap_err();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
}

#[actix_web::test]
async fn without_an_inherited_socket_the_error_says_so() {
    let error = echo().listen_inherited().unwrap_err();
    assert!(error.to_string().contains("LISTEN_FDS"), "{error}");
}

#[actix_web::test]
async fn a_websocket_works_over_tls() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = signed.signing_key.serialize_der().try_into().unwrap();
    let certificate = signed.cert.der().clone();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let limits = Limits::new().outbox_size(16 << 20);
    let routes =
        UrlRouter::new().route_with("/", limits, |scope: &Scope| Ok(Scheme(scope.scheme().to_owned())));
    let server = Server::new(routes).unwrap().threads(1).bind_rustls("127.0.0.1:0", config).unwrap();
    serve(server, async |address, _| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let trusting = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let socket = TlsConnector::from(Arc::new(trusting)).connect(name, socket).await.expect("a handshake");
        let (mut client, _) = client_async("wss://localhost/", socket).await.expect("the server accepts");
        let mut next = async || timeout(PATIENCE, client.next()).await.expect("in time").unwrap().unwrap();
        assert_eq!(next().await, Tungstenite::text("https"));
        // This is more than rustls and the socket buffer hold. The rest waits in the outbox.
        for _ in 0..8 {
            assert_eq!(next().await.len(), 1 << 20);
        }
        client.send(Tungstenite::text("bye")).await.unwrap();
        client.close(None).await.unwrap();
        while let Some(Ok(message)) = timeout(PATIENCE, client.next()).await.expect("in time") {
            assert!(message.is_close() || message.is_text(), "{message:?}");
        }
    })
    .await;
}

/// Sends the scheme of its client, and 8 MiB.
#[derive(NoEvents)]
struct Scheme(String);

impl Consumer for Scheme {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        ctx.send_text(self.0.clone())?;
        for _ in 0..8 {
            ctx.send_bytes(vec![1; 1 << 20])?;
        }
        Ok(())
    }
}

#[actix_web::test]
async fn a_process_serves_on_the_socket_that_it_inherited() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // systemd starts a server like this: the socket is descriptor 3, and two variables say so.
    let mut child = Command::new("sh")
        .args([
            "-c",
            r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" 3<&0 </dev/null"#,
            env!("CARGO_BIN_EXE_inherits"),
        ])
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .spawn()
        .expect("a shell is installed");
    let mut client = Raw::connect(address, "/echo/").await;
    client.text("hello").await;
    assert_eq!(client.next_text().await, "hello");
    drop(client);
    child.kill().unwrap();
    child.wait().unwrap();
}
