//! Code that all examples share: options of the command line, a log, an error for `main`, and pages.

use std::{error::Error, fmt, io::IsTerminal as _};

use clap::builder::RangedU64ValueParser;

pub mod pages;

/// The options for the address and the number of threads.
///
/// An example puts them among its own options with `#[command(flatten)]`.
#[derive(Debug, clap::Args)]
pub struct Listen {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub bind: String,
    /// How many threads to run; by default one for each core.
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..=512))]
    pub threads: Option<usize>,
    /// A name under which the server is reached, besides localhost and addresses; `.example.org` stands for all names
    /// below it too. May be repeated. A proxy in front of the server passes on such a name.
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
}

/// What the log has if `RUST_LOG` is not set.
const DEFAULT_LOG: &str = "info,actix_http::h1::dispatcher=off";

/// Writes the log to stderr, with colours on a terminal.
///
/// `RUST_LOG` sets the level. The default is `info`, without the lines of actix about broken requests: it writes an error
/// for each, and anyone can send one.
///
/// # Panics
/// If the program has a log already.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .parse_lossy(std::env::var("RUST_LOG").unwrap_or_else(|_| DEFAULT_LOG.to_owned()));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

/// The error that an example's `main` returns. Rust prints its text, which has all causes.
pub struct Failure(String);

impl Failure {
    /// A failure that names this option, because another value of it may help.
    pub fn of(option: &str, error: impl Error) -> Self {
        Self(format!("{option}: {}", Self::from(error).0))
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self(text)
    }
}

impl fmt::Debug for Failure {
    /// Plain text: Rust prints an error that `main` returns in this form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the port is no number")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_failure_names_the_option_and_all_causes() {
        let failure = Failure::of("--bind", Outer("x".parse::<u16>().unwrap_err()));
        assert_eq!(format!("{failure:?}"), "--bind: the port is no number: invalid digit found in string");
    }
}
