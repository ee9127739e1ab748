//! QEMU's machine protocol (docs/interop/qmp-spec): one JSON object a line over a Unix socket; answers by id, events aside.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Why a command had no good answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// QEMU's words.
    Error(String),
    /// No answer within the limit.
    Timeout,
    /// QEMU closed the connection.
    Closed,
}

/// A connection whose answers and events are read by a thread.
#[derive(Debug, Clone)]
pub(crate) struct Qmp {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writer: Mutex<(UnixStream, u64)>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<u64, Value>,
    events: Vec<Value>,
    closed: bool,
}

impl Qmp {
    /// Leaves the negotiation mode. The greeting has nothing that is needed.
    pub(crate) fn attach(stream: UnixStream, limit: Duration) -> Result<Self, Refusal> {
        let reader = stream.try_clone().map_err(|e| Refusal::Error(e.to_string()))?;
        let shared = Arc::new(Shared {
            writer: Mutex::new((stream, 0)),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let qmp = Self { shared };
        let reading = qmp.clone();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines() {
                let Ok(line) = line else { break };
                let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
                let mut state = reading.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(id) = message.get("id").and_then(Value::as_u64) {
                    state.answers.insert(id, message);
                } else if message.get("event").is_some() {
                    state.events.push(message);
                }
                drop(state);
                reading.shared.changed.notify_all();
            }
            reading.shared.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
            reading.shared.changed.notify_all();
        });
        qmp.command("qmp_capabilities", &json!({}), limit)?;
        Ok(qmp)
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn command(&self, name: &str, arguments: &Value, limit: Duration) -> Result<Value, Refusal> {
        let id = {
            let mut writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.1 += 1;
            let id = writer.1;
            let line = format!("{}\n", json!({ "execute": name, "arguments": arguments, "id": id }));
            writer.0.write_all(line.as_bytes()).map_err(|_| Refusal::Closed)?;
            id
        };
        let answer = self.wait(limit, |state| state.answers.remove(&id))?;
        match answer.get("error") {
            Some(error) => Err(Refusal::Error(
                error.get("desc").and_then(Value::as_str).unwrap_or("unknown error").to_owned(),
            )),
            None => Ok(answer.get("return").cloned().unwrap_or_default()),
        }
    }

    /// How many events came so far; a position for [`Self::wait_for_event`].
    pub(crate) fn events_seen(&self) -> usize {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).events.len()
    }

    /// Waits for an event of this name after a position.
    pub(crate) fn wait_for_event(&self, name: &str, after: usize, limit: Duration) -> Result<Value, Refusal> {
        self.wait(limit, |state| {
            let named = |event: &&Value| event.get("event").and_then(Value::as_str) == Some(name);
            state.events.iter().skip(after).find(named).cloned()
        })
    }

    fn wait<T>(&self, limit: Duration, mut look: impl FnMut(&mut State) -> Option<T>) -> Result<T, Refusal> {
        let end = Instant::now() + limit;
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = look(&mut state) {
                return Ok(found);
            }
            if state.closed {
                return Err(Refusal::Closed);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Refusal::Timeout);
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
