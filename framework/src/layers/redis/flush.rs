//! Deletes what this layer and others with its prefix keep in Redis.

use futures_util::future::join_all;

use super::{link::flat, writer::CoreIo};
use crate::layers::LayerError;

/// How many keys `flush` deletes at once.
const FLUSH_AT_ONCE: usize = 1_000;

impl CoreIo {
    /// Deletes all keys of the prefix, and writes the memberships of this process anew.
    pub(super) async fn flush(&self) -> Result<(), LayerError> {
        join_all((0..self.links.len()).map(|shard| self.flush_shard(shard))).await.into_iter().collect()
    }

    async fn flush_shard(&self, shard: usize) -> Result<(), LayerError> {
        let mut cursor = b"0".to_vec();
        loop {
            let mut scan = redis::pipe();
            let pattern = format!("{}*", escaped(&self.shared.config.prefix));
            scan.cmd("SCAN").arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(FLUSH_AT_ONCE);
            let mut found = self.ask(shard, &scan).await?.into_iter().flat_map(flat);
            cursor = found.next().unwrap_or_else(|| b"0".to_vec());
            let keys: Vec<Vec<u8>> = found.collect();
            if !keys.is_empty() {
                let mut delete = redis::pipe();
                delete.cmd("DEL").arg(&keys);
                self.ask(shard, &delete).await?;
            }
            if cursor == b"0" {
                break;
            }
        }
        self.rejoin(shard).await.map_err(LayerError::Unavailable)
    }
}

/// Escapes a text so that a pattern of Redis matches it literally.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
