//! One client: greeting, then requests. While a request is worked on, messages go to the client as they come; then
//! either an error or the answer.

use super::operations::Session;
use super::restriction::Restriction;
use super::wire::{Answer, read_number, send};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::nix_settings::NixSettings;
use crate::open::{Options, Store};
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

const CLIENT_MAGIC: u64 = 0x6e69_7863;
const SERVER_MAGIC: u64 = 0x6478_696f;
/// 1.35: what Nix 2.15 speaks; newer clients step down to it.
const VERSION: u64 = 0x123;
const OLDEST: u64 = 0x119;

const NEXT: u64 = 0x6f6c_6d67;
const FAILED: u64 = 0x6378_7470;
const LAST: u64 = 0x616c_7473;

/// Whether a client may do what needs trust: add unsigned paths, forge nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// It may.
    Trusted,
    /// It may not.
    NotTrusted,
    /// It may do nothing at all: who it is.
    Refused(String),
    /// Nothing, for it has as many connections as a user may have.
    TooMany {
        /// Who it is.
        who: String,
        /// How many those are.
        limit: u64,
    },
}

/// How the daemon behaves towards clients.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How builds run, as far as neither the settings nor clients say otherwise.
    pub build: crate::build::BuildOptions,
    /// The settings, which clients may change for themselves as far as they are trusted.
    pub nix: NixSettings,
    /// How the store is opened with settings that a client has changed.
    pub store_options: fn(&NixSettings) -> std::result::Result<Options, String>,
    /// What the daemon says that it is; clients show it.
    pub version: String,
    /// What clients may see of the store, if not everything.
    pub restriction: Option<Arc<Restriction>>,
}

/// The client's end, written to by several threads while a build runs.
#[derive(Clone)]
pub(super) struct Client {
    output: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Client {
    pub(super) fn send(&self, bytes: &[u8]) -> Result<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        send(&mut **output, bytes)
    }

    /// Shows the user a line.
    pub(super) fn message(&self, text: &str) -> Result<()> {
        let mut answer = Answer::default();
        answer.number(NEXT).text(&format!("{text}\n"));
        self.send(&answer.0)
    }

    fn failure(&self, error: &Error) -> Result<()> {
        let mut answer = Answer::default();
        // type, level (error), name, message, no position, no traces
        answer
            .number(FAILED)
            .text("Error")
            .number(0)
            .text("Error")
            .text(&error.to_string())
            .number(0)
            .number(0);
        self.send(&answer.0)
    }

    /// Work is done; the answer follows.
    pub(super) fn last(&self) -> Result<()> {
        let mut answer = Answer::default();
        answer.number(LAST);
        self.send(&answer.0)
    }

    /// A writer for long answers.
    pub(super) fn writer(&self) -> ClientWriter<'_> {
        ClientWriter(self)
    }
}

/// Sends what is written.
pub(super) struct ClientWriter<'a>(&'a Client);

impl Write for ClientWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut output = self.0.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.output.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

/// Serves one client until it goes away. `hang_up`, its socket, tells when it does so during a build.
pub fn serve(
    input: impl Read,
    output: impl Write + Send + 'static,
    hang_up: Option<UnixStream>,
    trust: Trust,
    layout: &Layout,
    options: &Options,
    settings: &Settings,
) -> Result<()> {
    let mut input = BufReader::with_capacity(64 * 1024, input);
    let client = Client { output: Arc::new(Mutex::new(Box::new(output))) };
    let version = greet(&mut input, &client, &trust, settings)?;
    let refusal = match &trust {
        Trust::Refused(who) => Some(format!(
            "user `{who}` is not allowed to use this store's daemon (`allowed-users` in nix.conf)"
        )),
        Trust::TooMany { who, limit } => Some(format!(
            "user `{who}` has {limit} connections to this store's daemon, and no more are allowed \
             (`user-connections-max` in nix.conf): wait for one of those programs to end"
        )),
        Trust::Trusted | Trust::NotTrusted => None,
    };
    if let Some(text) = refusal {
        return client.failure(&Error::Invalid(text));
    }
    let store = match Store::open_with(layout.clone(), options.clone()) {
        Ok(store) => store,
        Err(error) => return client.failure(&error),
    };
    client.last()?;
    let mut session = Session::new(store, client.clone(), version, trust, settings, hang_up);
    loop {
        // No number: it has gone.
        let Ok(operation) = read_number(&mut input) else { return Ok(()) };
        match session.perform(operation, &mut input) {
            Ok(()) => {}
            // After a request that was not understood nobody knows where the next begins.
            Err(Failure::Fatal(error)) => {
                client.failure(&error)?;
                return Err(error);
            }
            Err(Failure::Request(error)) => client.failure(&error)?,
        }
    }
}

/// How a request failed.
pub(super) enum Failure {
    /// It was read whole; the conversation goes on.
    Request(Error),
    /// The conversation is lost.
    Fatal(Error),
}

fn greet(input: &mut dyn Read, client: &Client, trust: &Trust, settings: &Settings) -> Result<u64> {
    if read_number(input)? != CLIENT_MAGIC {
        return Err(Error::Invalid("the client does not speak Nix's worker protocol".to_owned()));
    }
    let mut answer = Answer::default();
    client.send(&answer.number(SERVER_MAGIC).number(VERSION).0)?;
    let version = read_number(input)?.min(VERSION);
    if version < OLDEST {
        return Err(Error::Invalid("the client is too old: Nix 2.4 or newer is needed".to_owned()));
    }
    if read_number(input)? != 0 {
        read_number(input)?; // the processor it would like to run on, in old days
    }
    read_number(input)?; // whether to reserve space, in old days
    let mut answer = Answer::default();
    if version & 0xff >= 33 {
        answer.text(&settings.version);
    }
    if version & 0xff >= 35 {
        answer.number(if *trust == Trust::Trusted { 1 } else { 2 });
    }
    client.send(&answer.0)?;
    Ok(version & 0xff)
}
