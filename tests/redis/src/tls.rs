//! A certificate for servers on this machine.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// A certificate for `localhost` and `127.0.0.1`, and its key, in files. They are removed with this.
#[derive(Debug)]
pub struct Certificate {
    folder: PathBuf,
    /// The certificate in PEM, which is also its own root.
    pub pem: String,
}

impl Certificate {
    /// Makes a new one.
    ///
    /// # Panics
    /// If the files cannot be written.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certified = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let number = NUMBER.fetch_add(1, Relaxed);
        let folder = std::env::temp_dir().join(format!("greenroom-tls-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let pem = certified.cert.pem();
        fs::write(folder.join("certificate.pem"), &pem).expect("a file");
        fs::write(folder.join("key.pem"), certified.signing_key.serialize_pem()).expect("a file");
        Self { folder, pem }
    }

    /// The file with the certificate.
    #[must_use]
    pub fn file(&self) -> String {
        self.folder.join("certificate.pem").display().to_string()
    }

    /// The file with its key.
    #[must_use]
    pub fn key(&self) -> String {
        self.folder.join("key.pem").display().to_string()
    }

    /// The options of a Redis server that listens with TLS on this port too.
    #[must_use]
    pub fn options(&self, port: u16) -> Vec<String> {
        let (certificate, key, port) = (self.file(), self.key(), port.to_string());
        let options = [
            ["--tls-port", &port],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-ca-cert-file", &certificate],
            ["--tls-auth-clients", "no"],
            // A sentinel then speaks TLS with its master.
            ["--tls-replication", "yes"],
        ];
        options.concat().into_iter().map(str::to_owned).collect()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
