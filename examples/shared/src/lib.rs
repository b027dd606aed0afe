//! What every example needs apart from Greenroom: the options of its command line, a log, an error at the end, and pages.

use std::{error::Error, fmt, io::IsTerminal as _};

use clap::builder::RangedU64ValueParser;

pub mod pages;

/// Where an example listens, and by how many threads. An example puts them among its own options (`#[command(flatten)]`).
#[derive(Debug, clap::Args)]
pub struct Listen {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub bind: String,
    /// How many threads to run; by default one a core.
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..=512))]
    pub threads: Option<usize>,
}

/// Writes the log to stderr, in colours if that is a terminal. `RUST_LOG` says what is logged; by default `info`.
///
/// # Panics
/// If the program has a log already.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

/// Why an example ended: `main` returns it, and its text is then printed with all causes.
pub struct Failure(String);

impl Failure {
    /// A failure that another value of this option may prevent.
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
