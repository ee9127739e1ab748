//! What a build tells while it runs. The library never writes to a terminal; whoever starts a build listens.

use super::FailureKind;
use formats::store_path::StorePath;
use std::time::Duration;

/// Something happened. Events of one derivation come in order, those of several are mixed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// This many builds and downloads are to be done.
    Planned {
        /// Builds.
        builds: usize,
        /// Downloads.
        fetches: usize,
    },
    /// One step of the plan; what it needs was told before.
    Step {
        /// The derivation to build, or the path to fetch.
        path: &'a StorePath,
        /// The steps that come before it.
        needs: &'a [&'a StorePath],
        /// Whether it is a download.
        fetch: bool,
        /// Bytes to download, if known.
        size: Option<u64>,
    },
    /// Somebody else builds it; we wait for the lock.
    Waiting {
        /// The derivation.
        derivation: &'a StorePath,
    },
    /// A build or download began.
    Started {
        /// The derivation.
        derivation: &'a StorePath,
        /// Whether it is a download.
        fetch: bool,
    },
    /// The builder wrote a line.
    Line {
        /// The derivation.
        derivation: &'a StorePath,
        /// The line without its end; not always UTF-8 at its source.
        line: &'a str,
    },
    /// The post-build hook wrote a line.
    HookLine {
        /// The derivation.
        derivation: &'a StorePath,
        /// The line.
        line: &'a str,
    },
    /// The builder says what it does (`unpackPhase`, …).
    Phase {
        /// The derivation.
        derivation: &'a StorePath,
        /// The phase.
        phase: &'a str,
    },
    /// The builder said something to the build tool that means nothing.
    Warning {
        /// The derivation.
        derivation: &'a StorePath,
        /// What is wrong, and with what.
        text: &'a str,
    },
    /// A download went on.
    Downloaded {
        /// The derivation.
        derivation: &'a StorePath,
        /// Bytes here.
        done: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
    },
    /// Outputs are scanned, hashed and registered.
    Registering {
        /// The derivation.
        derivation: &'a StorePath,
    },
    /// Its outputs are valid.
    Finished {
        /// The derivation.
        derivation: &'a StorePath,
        /// How long it took.
        duration: Duration,
    },
    /// It failed.
    Failed {
        /// The derivation.
        derivation: &'a StorePath,
        /// Why.
        kind: &'a FailureKind,
    },
    /// Nothing of the plan runs any more.
    Ended,
}

/// Hears events, from several threads.
pub trait Progress: Send + Sync {
    /// Takes one event; must not block for long.
    fn event(&self, event: &Event<'_>);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}
