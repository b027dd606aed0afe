//! Request headers in one piece of memory.

use std::fmt;

/// Headers as HTTP writes them, each as `name:value\n`.
///
/// No name can hold a colon, and no value a line end.
#[derive(Clone, Copy)]
pub(super) struct HeaderBlock<'a>(pub(super) &'a [u8]);

/// Headers whose values [`Debug`](fmt::Debug) leaves out.
const SECRET: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "sec-websocket-protocol"];

impl<'a> HeaderBlock<'a> {
    /// Appends one header to the bytes of a block.
    pub(super) fn push(block: &mut Vec<u8>, name: &str, value: &[u8]) {
        block.extend_from_slice(name.as_bytes());
        block.push(b':');
        block.extend_from_slice(value);
        block.push(b'\n');
    }

    pub(super) fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0.split(|byte| *byte == b'\n').filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((std::str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]))
        })
    }
}

impl fmt::Debug for HeaderBlock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(name, value)| {
            let value = if SECRET.contains(&name) { "…".into() } else { String::from_utf8_lossy(value) };
            (name, value)
        });
        f.debug_map().entries(shown).finish()
    }
}
