//! Listening on TCP, on several addresses, on Unix sockets, on inherited sockets, and with TLS.

use std::{
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, net::UnixListener},
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use futures_util::{SinkExt as _, StreamExt as _};
use greenroom::{Limits, Server, prelude::*};
use integration_tests::{PATIENCE, log, raw::Raw, tungstenite::Message as Tungstenite};
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

/// An address for documentation (RFC 5737), which no machine has.
const MISSING: &str = "192.0.2.1:0";

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// `localhost` has such an address where IPv6 is switched off.
#[actix_web::test]
async fn an_address_that_the_machine_does_not_have_is_left_out_with_a_warning() {
    log::capture();
    for name in [[MISSING, "127.0.0.1:0"], ["127.0.0.1:0", MISSING]] {
        let server = echo().bind(&*addresses(&name)).unwrap();
        assert_eq!(server.addresses().len(), 1, "{name:?}");
        serve(server, async |address, _| drop(Raw::connect(address, "/echo/").await)).await;
    }
    log::logged(&["WARN", "does not listen on this address", "192.0.2.1"]).await;
    let error = echo().bind(&*addresses(&[MISSING])).unwrap_err();
    assert!(error.to_string().contains("cannot listen on 192.0.2.1"), "{error}");
    echo().bind(&[][..]).unwrap_err();
}

/// Otherwise some clients of the name would reach the other program.
#[actix_web::test]
async fn a_name_with_an_address_in_use_is_an_error() {
    let other = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let taken = other.local_addr().unwrap();
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let error = echo().bind(&[free, taken][..]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

#[actix_web::test]
async fn all_addresses_of_a_name_have_the_same_free_port() {
    let server = echo().bind(&*addresses(&["127.0.0.1:0", MISSING, "127.0.0.2:0", "127.0.0.1:0"])).unwrap();
    let [first, second] = server.addresses()[..] else { panic!("{:?}", server.addresses()) };
    assert_eq!((first.ip().to_string(), second.ip().to_string()), ("127.0.0.1".into(), "127.0.0.2".into()));
    assert_eq!(first.port(), second.port());
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

/// A folder for the sockets of one test. It is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("greenroom-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A panic of the test is what matters.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[actix_web::test]
async fn a_unix_socket_serves_and_its_old_file_is_replaced() {
    let folder = Folder::new("old");
    let path = folder.socket();
    // A server that was killed leaves its file like this.
    drop(UnixListener::bind(&path).unwrap());
    serve(echo().threads(2).bind_unix(&path).unwrap(), async |_, _| {
        echo_over_unix(&path).await;
        let error = echo().bind_unix(&path).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("another server listens on it"), "{error}");
        echo_over_unix(&path).await;
    })
    .await;
    assert!(!path.exists(), "the file goes away with the server");
}

#[actix_web::test]
async fn a_socket_that_is_not_served_takes_its_file_with_it() {
    let folder = Folder::new("unserved");
    let server = echo().bind_unix(folder.socket()).unwrap();
    assert!(folder.socket().exists());
    drop(server);
    assert!(!folder.socket().exists());
}

/// A new process takes over: it puts a socket of its own in the place of the old one, which still serves.
#[actix_web::test]
async fn a_file_of_another_server_stays() {
    let folder = Folder::new("replaced");
    let (path, new) = (folder.socket(), folder.0.join("new"));
    let second = UnixListener::bind(&new).unwrap();
    serve(echo().bind_unix(&path).unwrap(), async |_, _| std::fs::rename(&new, &path).unwrap()).await;
    std::os::unix::net::UnixStream::connect(&path).expect("the file of the second server");
    drop(second);
}

#[actix_web::test]
async fn of_servers_that_start_at_once_one_gets_the_socket() {
    let folder = Folder::new("race");
    let path = folder.socket();
    for round in 0..20 {
        drop(UnixListener::bind(&path).unwrap());
        let start = std::sync::Barrier::new(4);
        let bound: Vec<_> = std::thread::scope(|scope| {
            let bind = || {
                start.wait();
                echo().bind_unix(&path)
            };
            let servers: Vec<_> = (0..4).map(|_| scope.spawn(bind)).collect();
            servers.into_iter().map(|server| server.join().unwrap()).collect()
        });
        let (served, refused): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
        assert_eq!(served.len(), 1, "round {round}");
        for error in refused.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "round {round}: {error}");
        }
        std::os::unix::net::UnixStream::connect(&path).expect("the file of the server that has it");
        drop(served);
        assert!(!path.exists(), "round {round}");
    }
}

/// A blocking probe would wait until the other server accepts.
#[actix_web::test]
async fn a_living_server_with_a_full_backlog_is_an_error_at_once() {
    let folder = Folder::new("full");
    let path = folder.socket();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(1).unwrap();
    let waiting: Vec<_> = std::iter::from_fn(|| {
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        client.connect(&socket2::SockAddr::unix(&path).unwrap()).is_ok().then_some(client)
    })
    .take(100)
    .collect();
    assert!(waiting.len() < 100, "the backlog is not full");
    let (done, result) = std::sync::mpsc::channel();
    let bound = path.clone();
    std::thread::spawn(move || done.send(echo().bind_unix(bound).map(drop)));
    let error = result.recv_timeout(PATIENCE).expect("an answer in time").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(path.exists());
}

#[actix_web::test]
async fn the_mode_of_a_unix_socket_can_be_chosen() {
    let folder = Folder::new("mode");
    let path = folder.socket();
    for mode in [0o600, 0o666] {
        serve(echo().bind_unix_with(&path, mode).unwrap(), async |_, _| {
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            echo_over_unix(&path).await;
            // An operator may change it later. The file still belongs to this server.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        })
        .await;
        assert!(!path.exists());
    }
    let error = echo().bind_unix_with(&path, 0o1777).unwrap_err();
    assert!(error.to_string().contains("the mode must be"), "{error}");
    for refused in ["", "\0greenroom-tests", "so\0cket"] {
        let error = echo().bind_unix(refused).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{refused:?}");
    }
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
    let server = Server::new(routes).unwrap().threads(1).bind_rustls_0_23("127.0.0.1:0", config).unwrap();
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
