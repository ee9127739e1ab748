//! How builds fail, and what a user needs to know then.

use formats::hash::Hash;
use formats::store_path::StorePath;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Why one derivation has no outputs.
#[derive(Debug)]
#[non_exhaustive]
pub enum FailureKind {
    /// The builder ended with this code.
    Exit(i32),
    /// A signal ended the builder.
    Signal(i32),
    /// It ran longer than allowed.
    Timeout(Duration),
    /// It said nothing for longer than allowed.
    Silent(Duration),
    /// It said more than allowed.
    LogLimit(u64),
    /// It and what it started used more memory than allowed, in bytes.
    MemoryLimit(u64),
    /// A fixed output has other content than promised.
    HashMismatch {
        /// What the derivation says.
        specified: Box<Hash>,
        /// What came.
        got: Box<Hash>,
    },
    /// A step of the sandbox failed.
    Sandbox(String),
    /// An output is missing or breaks a rule.
    Output(String),
    /// Building again gave something else.
    NotDeterministic(String),
    /// The post-build hook failed.
    Hook(String),
    /// A download failed.
    Fetch(String),
    /// Caches that have the path did not deliver it.
    Substitution {
        /// What each said.
        why: String,
        /// Whether they merely have it no more, and did not fail to give what they promise.
        gone: bool,
    },
    /// This machine cannot build it.
    Unsupported(String),
    /// The daemon that keeps the store says so.
    Daemon {
        /// The protocol's number for the kind of failure.
        status: u64,
        /// What it said.
        message: Box<str>,
    },
    /// Somebody said stop.
    Cancelled,
    /// The store itself failed.
    Store(Box<crate::error::Error>),
}

impl fmt::Display for FailureKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(formatter, "builder failed with exit code {code}"),
            Self::Signal(signal) => write!(formatter, "builder was killed by signal {signal}"),
            Self::Timeout(limit) => write!(formatter, "timed out after {} seconds", limit.as_secs()),
            Self::Silent(limit) => {
                write!(formatter, "timed out after {} seconds of silence", limit.as_secs())
            }
            Self::LogLimit(limit) => write!(formatter, "wrote more than {limit} bytes of log and was killed"),
            Self::MemoryLimit(limit) => {
                write!(formatter, "used more than {limit} bytes of memory (build-memory-max) and was killed")
            }
            Self::HashMismatch { specified, got } => write!(
                formatter,
                "hash mismatch in fixed-output derivation:\n         specified: {}\n            got:    {}",
                specified.sri(),
                got.sri()
            ),
            Self::Sandbox(text)
            | Self::Output(text)
            | Self::Fetch(text)
            | Self::Hook(text)
            | Self::Unsupported(text)
            | Self::NotDeterministic(text) => formatter.write_str(text),
            Self::Substitution { why, gone: true } => write!(formatter, "no cache has it any more: {why}"),
            Self::Substitution { why, gone: false } => {
                write!(
                    formatter,
                    "caches did not deliver it ({why}); --fallback builds what caches fail to give"
                )
            }
            Self::Daemon { message, .. } => formatter.write_str(message),
            Self::Cancelled => formatter.write_str("cancelled"),
            Self::Store(error) => error.fmt(formatter),
        }
    }
}

impl FailureKind {
    /// Whether a cache failed and no build.
    #[must_use]
    pub const fn is_substitution(&self) -> bool {
        matches!(self, Self::Substitution { .. })
    }
}

impl From<crate::error::Error> for FailureKind {
    fn from(error: crate::error::Error) -> Self {
        Self::Store(Box::new(error))
    }
}

/// One derivation's failure.
#[derive(Debug)]
pub struct Failure {
    /// The derivation.
    pub derivation: StorePath,
    /// Why.
    pub kind: FailureKind,
    /// The last lines of its log.
    pub tail: Vec<String>,
    /// Where the whole log is, if there is one.
    pub log: Option<PathBuf>,
    /// The build directory, if it was kept.
    pub kept: Option<PathBuf>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A daemon says itself what failed.
        match &self.kind {
            FailureKind::Daemon { message, .. } => formatter.write_str(message)?,
            kind => write!(formatter, "build of `{}` failed: {kind}", self.derivation)?,
        }
        if !self.tail.is_empty() {
            write!(formatter, "\n  last {} lines of its log:", self.tail.len())?;
            for line in &self.tail {
                write!(formatter, "\n  > {line}")?;
            }
        }
        if let Some(log) = &self.log {
            write!(formatter, "\n  whole log: firn log {} ({})", self.derivation, log.display())?;
        }
        if let Some(kept) = &self.kept {
            write!(formatter, "\n  note: keeping build directory '{}'", kept.display())?;
        }
        Ok(())
    }
}

/// All failures of one call of `build`.
#[derive(Debug)]
pub struct BuildError {
    /// Those that failed themselves.
    pub failures: Vec<Failure>,
    /// Those that could not be built because an input failed.
    pub dependents: Vec<StorePath>,
}

impl BuildError {
    /// The exit code that Nix has for it: 100 and a bit for each kind of failure.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let built = |failure: &Failure| {
            !failure.kind.is_substitution() && !matches!(failure.kind, FailureKind::Store(_))
        };
        if !self.failures.is_empty() && !self.failures.iter().any(built) {
            return 1;
        }
        // Bits beside 0x60: 1 out of time, 2 a wrong hash, 4 any of these or another failure, 8 not the same again.
        let mask = self.failures.iter().fold(0, |mask, failure| {
            mask | match failure.kind {
                FailureKind::Timeout(_) | FailureKind::Silent(_) | FailureKind::Daemon { status: 8, .. } => {
                    1 | 4
                }
                FailureKind::HashMismatch { .. } => 2 | 4,
                FailureKind::NotDeterministic(_) | FailureKind::Daemon { status: 12, .. } => 8,
                _ => 4,
            }
        });
        if mask == 0 { 100 } else { 0x60 | mask }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.failures.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            failure.fmt(formatter)?;
        }
        match self.dependents.len() {
            0 => Ok(()),
            1 => write!(formatter, "\n1 derivation needs it and was not built"),
            count => write!(formatter, "\n{count} derivations need what failed and were not built"),
        }
    }
}

impl std::error::Error for BuildError {}
