//! What the tests with Django share: a real project, its databases, and a server that names the user of each client.

mod postgres;
mod project;
mod server;

/// Values that Django writes into a session and reads again, but which JSON does not have: each as Python, and as the
/// server then finds it. Null stands for a value that has only its text.
pub const ODD: &[(&str, &str, &str)] = &[
    ("half", "'a' + chr(0xd83d)", "\"a\u{fffd}\""),
    ("nested", "{'half': [chr(0xde00)], 'n': 1}", "{\"half\":[\"\u{fffd}\"],\"n\":1}"),
    ("nan", "float('nan')", "null"),
    ("infinite", "[float('inf'), -float('inf')]", "[null,null]"),
    ("long", "10 ** 400", ""),
    ("deep", "__import__('functools').reduce(lambda inner, _: [inner], range(300), [])", ""),
];

/// One session with all of [`ODD`], and a value that is as usual.
#[must_use]
pub fn odd_session() -> String {
    let values = ODD.iter().map(|(name, python, _)| format!("'{name}': {python}"));
    format!("{{{}, 'theme': 'dark'}}", values.collect::<Vec<_>>().join(", "))
}

/// Checks that the server finds the user and every value of [`odd_session`].
///
/// # Panics
/// If it does not.
pub fn check_odd(found: &Who, id: &str) {
    assert_eq!(found.id(), Some(id));
    assert_eq!(found.session["theme"], "dark");
    for (name, _, expected) in ODD {
        let value = found.session.as_object().expect("a session").get(*name).map(ToString::to_string);
        assert_eq!(value.unwrap_or_default(), *expected, "{name}");
    }
}

pub use self::{
    postgres::Postgres,
    project::{Project, Site},
    server::{WHO, Who, ask, serve},
};

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// A temporary folder. It is removed when this is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes a folder. Its path is short enough for a Unix socket in it.
    ///
    /// # Panics
    /// If the folder cannot be made.
    #[must_use]
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("greenroom-django-{}-{}", process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind fails no test.
        let _ = fs::remove_dir_all(&self.0);
    }
}
