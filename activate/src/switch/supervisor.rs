//! The supervisor as a switch sees it: a client of the control socket (`formats::control`).

use crate::error::{Error, Result};
use crate::root::Root;
use formats::control::{ActiveState, Message as _, Phase, Reply, Request, SOCKET, Verb};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long one answer may take: a unit that starts says so when it is done, and units have time limits of their own.
const PATIENCE: Duration = Duration::from_secs(900);

/// What says that the graph with transient units is the one that runs (`firn service start x@y`, systemd-run).
const TRANSIENT: &str = "/run/firn/transient/generation";

/// What became of one unit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct UnitStep {
    /// The unit.
    pub unit: String,
    /// `start`, `stop`, `restart`, `reload`, `keep`.
    pub action: String,
    /// Why.
    pub reason: String,
    /// `done`, `failed`, `timeout`, `dependency`, ….
    pub result: String,
}

impl UnitStep {
    /// Whether it did not come to what was wanted.
    pub fn failed(&self) -> bool {
        matches!(self.result.as_str(), "failed" | "dependency" | "timeout") && self.action != "stop"
    }
}

/// What a switch asks of the supervisor.
pub trait Supervisor {
    /// The state of every unit.
    ///
    /// # Errors
    /// When it does not answer.
    fn states(&mut self) -> Result<BTreeMap<String, ActiveState>>;

    /// One part of the way to another graph.
    ///
    /// # Errors
    /// When it refuses the graph or does not answer.
    fn switch(&mut self, graph: &Path, phase: Phase) -> Result<Vec<UnitStep>>;

    /// Starts a unit and waits.
    ///
    /// # Errors
    /// When it does not answer.
    fn start(&mut self, unit: &str) -> Result<UnitStep>;
}

/// The supervisor behind the control socket.
#[derive(Debug)]
pub struct ControlSocket {
    stream: UnixStream,
}

impl ControlSocket {
    /// Connects to the supervisor of this root; nothing when none is there (an installation into a directory).
    ///
    /// # Errors
    /// When there is a socket that cannot be used.
    pub fn connect(root: &Root) -> Result<Option<Self>> {
        let stream = match UnixStream::connect(root.join(SOCKET)) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(Error::Supervisor { problem: format!("cannot be reached: {error}") }),
        };
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|error| Error::Supervisor { problem: format!("cannot be waited for: {error}") })?;
        Ok(Some(Self { stream }))
    }

    /// Sends a request and collects the replies up to the last.
    fn ask(&mut self, request: &Request) -> Result<Vec<Reply>> {
        let lost = |error: std::io::Error| Error::Supervisor { problem: format!("went away: {error}") };
        request.send(&mut self.stream).map_err(lost)?;
        let mut replies = Vec::new();
        loop {
            match Reply::receive(&mut self.stream).map_err(lost)? {
                Some(Reply::Refused { reason }) => {
                    return Err(Error::Supervisor { problem: format!("refuses: {reason}") });
                }
                Some(reply) => {
                    let last = reply.is_last();
                    replies.push(reply);
                    if last {
                        return Ok(replies);
                    }
                }
                None => {
                    return Err(Error::Supervisor {
                        problem: "closed the connection before it was done".to_owned(),
                    });
                }
            }
        }
    }
}

impl Supervisor for ControlSocket {
    fn states(&mut self) -> Result<BTreeMap<String, ActiveState>> {
        let mut states = BTreeMap::new();
        for reply in self.ask(&Request::List)? {
            if let Reply::Units(units) = reply {
                states.extend(units.into_iter().map(|unit| (unit.name, unit.active)));
            }
        }
        Ok(states)
    }

    fn switch(&mut self, graph: &Path, phase: Phase) -> Result<Vec<UnitStep>> {
        let graph = graph.to_string_lossy().into_owned();
        let replies = self.ask(&Request::Switch { graph, phase })?;
        if phase != Phase::Stop {
            // Transient units joined the graph that was left: theirs is not the running one any more.
            drop(std::fs::remove_file(TRANSIENT));
        }
        let steps = replies.into_iter().filter_map(|reply| match reply {
            Reply::Step { unit, action, reason, result } => Some(UnitStep { unit, action, reason, result }),
            _ => None,
        });
        Ok(steps.collect())
    }

    fn start(&mut self, unit: &str) -> Result<UnitStep> {
        let replies = self.ask(&Request::Job { verb: Verb::Start, unit: unit.to_owned(), wait: true })?;
        let result = replies.into_iter().find_map(|reply| match reply {
            Reply::Done { result } => Some(result),
            _ => None,
        });
        Ok(UnitStep {
            unit: unit.to_owned(),
            action: "start".to_owned(),
            reason: "it ran before".to_owned(),
            result: result.unwrap_or_default(),
        })
    }
}
