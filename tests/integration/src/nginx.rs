//! A real nginx in front of a server.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use crate::{PATIENCE, free_port, http::Http};

/// How many ports are tried: another program may take a free port before nginx does.
const TRIES: usize = 5;
/// nginx gives its prefix here, which shows that it is this nginx that listens.
const WHO: &str = "/which-nginx";

/// A running nginx. It is killed when this is dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Nginx {
    /// Starts an nginx that hands all requests to `server`, with the usual lines for WebSockets. Nobody may ask for
    /// `/plain`.
    pub async fn before(server: SocketAddr) -> Self {
        for _ in 0..TRIES {
            if let Some(nginx) = Self::start(server).await {
                return nginx;
            }
        }
        panic!("nginx did not start");
    }

    /// The address on which nginx listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    async fn start(server: SocketAddr) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        let folder = std::env::temp_dir().join(format!("greenroom-nginx-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        fs::write(folder.join("nginx.conf"), config(&folder, address, server)).expect("a file");
        let child = Command::new(program())
            .arg("-p")
            .arg(&folder)
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start nginx, install the package nginx-light: {error}"));
        let mut nginx = Self { child, address, folder };
        nginx.listens().await.then_some(nginx)
    }

    /// Waits until nginx answers. Returns false if it has ended, or another program has the port.
    async fn listens(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).await.is_err() {
            assert!(Instant::now() < deadline, "nginx neither listens nor ends");
            if self.child.try_wait().expect("nginx was started").is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut http = Http::open(self.address).await;
        http.request("GET", WHO, &[("connection", "close")], b"").await;
        let Some(head) = http.try_head().await else { return false };
        head.status == 200 && http.body(&head).await.0 == self.folder.to_string_lossy()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // All three fail only if nginx or its folder is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Debian puts nginx into a folder that only root has in the PATH.
fn program() -> &'static str {
    let debian = "/usr/sbin/nginx";
    if Path::new(debian).exists() { debian } else { "nginx" }
}

fn config(folder: &Path, address: SocketAddr, server: SocketAddr) -> String {
    let folder = folder.display();
    // One process, which can be killed as a whole.
    format!(
        r#"
daemon off;
master_process off;
pid {folder}/pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 16m;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' close;
    }}
    server {{
        listen {address};
        location = {WHO} {{ return 200 "{folder}"; }}
        location /plain {{ deny all; }}
        location / {{
            proxy_pass http://{server};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_request_buffering off;
        }}
    }}
}}
"#
    )
}
