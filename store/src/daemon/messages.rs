//! What builds tell the client while they run: activities with their log lines, as Nix's clients show them ("Nix Daemon
//! Protocol", `STDERR_START_ACTIVITY` and what follows).

use super::connection::Client;
use super::wire::Answer;
use crate::build::{Event, Progress};
use formats::store_path::StorePath;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

const START: u64 = 0x5354_5254;
const STOP: u64 = 0x5354_4f50;
const RESULT: u64 = 0x5253_4c54;
/// The type of the activity of one build.
const BUILD: u64 = 105;
/// The type of the activity of a post-build hook.
const HOOK: u64 = 110;
/// Types of results.
const LOG_LINE: u64 = 101;
const SET_PHASE: u64 = 104;
const HOOK_LINE: u64 = 107;
/// Verbosity at which a started build is told.
const INFO: u64 = 3;

/// Numbers of activities, which clients take as they come.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The activities that run, by derivation: the build's and, if there is one, the hook's.
pub(super) type Activities = Mutex<BTreeMap<StorePath, Vec<(u64, u64)>>>;

/// Tells a client.
pub(super) struct Messages {
    pub(super) client: Client,
    pub(super) store_dir: String,
    /// Whether it wants to see what builders say.
    pub(super) show_logs: bool,
    pub(super) activities: Activities,
}

impl Messages {
    fn start(&self, derivation: &StorePath, kind: u64, text: &str) -> Answer {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut activities = self.activities.lock().unwrap_or_else(PoisonError::into_inner);
        activities.entry(derivation.clone()).or_default().push((kind, number));
        let path = format!("{}/{derivation}", self.store_dir);
        let mut message = Answer::default();
        message.number(START).number(number).number(INFO).number(kind).text(text);
        if kind == BUILD {
            // The derivation, the machine, the round and how many rounds there are.
            message
                .number(4)
                .number(1)
                .text(&path)
                .number(1)
                .text("")
                .number(0)
                .number(1)
                .number(0)
                .number(1);
        } else {
            message.number(1).number(1).text(&path);
        }
        message.number(0);
        message
    }

    fn number_of(&self, derivation: &StorePath, kind: u64) -> Option<u64> {
        let activities = self.activities.lock().unwrap_or_else(PoisonError::into_inner);
        activities.get(derivation)?.iter().find(|(of, _)| *of == kind).map(|(_, number)| *number)
    }

    fn result(&self, derivation: &StorePath, activity: u64, kind: u64, text: &str) -> Option<Answer> {
        let number = self.number_of(derivation, activity)?;
        let mut message = Answer::default();
        message.number(RESULT).number(number).number(kind).number(1).number(1).text(text);
        Some(message)
    }

    fn stop(&self, derivation: &StorePath) -> Answer {
        let mut activities = self.activities.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = Answer::default();
        for (_, number) in activities.remove(derivation).into_iter().flatten().rev() {
            message.number(STOP).number(number);
        }
        message
    }
}

impl Progress for Messages {
    fn event(&self, event: &Event<'_>) {
        let message = match event {
            Event::Started { derivation, .. } => {
                let text = format!("building '{}/{derivation}'", self.store_dir);
                Some(self.start(derivation, BUILD, &text))
            }
            Event::Line { derivation, line } if self.show_logs => {
                self.result(derivation, BUILD, LOG_LINE, line)
            }
            Event::Phase { derivation, phase } => self.result(derivation, BUILD, SET_PHASE, phase),
            Event::HookLine { derivation, line } => {
                let mut message = if self.number_of(derivation, HOOK).is_some() {
                    Answer::default()
                } else {
                    let text = format!("running post-build-hook for '{}/{derivation}'", self.store_dir);
                    self.start(derivation, HOOK, &text)
                };
                if let Some(line) = self.result(derivation, HOOK, HOOK_LINE, line) {
                    message.0.extend(line.0);
                }
                Some(message)
            }
            Event::Warning { text, .. } => {
                if self.client.message(&format!("warning: {text}")).is_err() {
                    log::debug!("the client does not listen any more");
                }
                None
            }
            Event::Finished { derivation, .. } | Event::Failed { derivation, .. } => {
                Some(self.stop(derivation))
            }
            _ => None,
        };
        if let Some(message) = message.filter(|message| !message.0.is_empty())
            && self.client.send(&message.0).is_err()
        {
            log::debug!("the client does not listen any more");
        }
    }
}
