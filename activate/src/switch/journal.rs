//! The journal of switches: one small file that says what the last switch wanted and how far it came, written before each
//! stage. A switch without an outcome was cut off, by a kill or a power cut.

use crate::durable;
use crate::error::{Error, Result};
use crate::root::Root;
use crate::steps::Action;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where it is.
const PATH: &str = "/var/lib/firn/switch.json";

/// How far a switch came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// The plan was made.
    Begun,
    /// Units are being stopped.
    Stopping,
    /// Files, accounts and the rest are being changed.
    Activating,
    /// The new graph's units are being started.
    Starting,
}

/// How a switch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Everything was done.
    Done,
    /// It was done, but something failed.
    DoneWithFailures,
    /// The machine went back.
    Reverted,
    /// Going back failed as well.
    Stuck,
    /// The machine was restarted in the middle of it.
    CutOff,
}

/// One switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `switch` or `test`.
    pub action: String,
    /// When it began, seconds since 1970.
    pub began: u64,
    /// The generation that ran.
    pub from: Option<PathBuf>,
    /// The generation wanted.
    pub to: PathBuf,
    /// How far it came.
    pub stage: Stage,
    /// How it ended; nothing: it runs or was cut off.
    pub outcome: Option<Outcome>,
    /// Units that the switch stops and starts again.
    #[serde(default)]
    pub interrupted_units: BTreeSet<String>,
    /// Units that ran before.
    #[serde(default)]
    pub ran_before: BTreeSet<String>,
    /// Units that failed.
    #[serde(default)]
    pub failed_units: Vec<String>,
    /// What else failed.
    #[serde(default)]
    pub problems: Vec<String>,
}

impl Record {
    /// A switch that begins now.
    pub(crate) fn begin(action: Action, from: Option<&Path>, to: &Path) -> Self {
        Self {
            action: action.word().to_owned(),
            began: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map(|time| time.as_secs())
                .unwrap_or_default(),
            from: from.map(Path::to_path_buf),
            to: to.to_path_buf(),
            stage: Stage::Begun,
            outcome: None,
            interrupted_units: BTreeSet::new(),
            ran_before: BTreeSet::new(),
            failed_units: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// One sentence for `firn status`.
    pub fn sentence(&self) -> String {
        let to = self.to.display();
        let failed = self.failed_units.join(", ");
        match self.outcome {
            Some(Outcome::Done) => format!("{} to {to}: done", self.action),
            Some(Outcome::DoneWithFailures) if failed.is_empty() => {
                format!("{} to {to}: done, but: {}", self.action, self.problems.join("; "))
            }
            Some(Outcome::DoneWithFailures) => {
                format!("{} to {to}: done, but these failed: {failed}", self.action)
            }
            Some(Outcome::Reverted) => {
                format!("{} to {to}: went back, since these failed: {failed}", self.action)
            }
            Some(Outcome::Stuck) => {
                format!("{} to {to}: these failed, and going back failed too: {failed}", self.action)
            }
            Some(Outcome::CutOff) => format!("{} to {to}: cut off by a restart of the machine", self.action),
            None => format!(
                "{} to {to}: running or cut off ({:?}); switch again to finish it",
                self.action, self.stage
            ),
        }
    }
}

/// Writes the record down, durably.
///
/// # Errors
/// When it cannot be written: a switch that cannot be written down is not begun.
pub(crate) fn write(root: &Root, record: &Record) -> Result<()> {
    let place = root.resolve(PATH)?;
    if let Some(parent) = place.parent() {
        durable::make_directories(parent)?;
    }
    let text = serde_json::to_vec_pretty(record).map_err(|error| Error::File {
        doing: "write",
        path: place.clone(),
        source: error.into(),
    })?;
    durable::write(&place, &text, 0o644, root.sets_owners().then_some((0, 0)))
}

/// The last switch. A damaged journal counts as none: it must never keep anybody from switching.
///
/// # Errors
/// When it is there and cannot be read.
pub fn last(root: &Root) -> Result<Option<Record>> {
    let bytes = durable::read_if_there(&root.resolve(PATH)?)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Notes at boot that a switch had been cut off: the boot has brought one generation about as a whole.
///
/// # Errors
/// When the note cannot be written.
pub fn close_at_boot(root: &Root) -> Result<Option<Record>> {
    let Some(mut record) = last(root)?.filter(|record| record.outcome.is_none()) else { return Ok(None) };
    record.outcome = Some(Outcome::CutOff);
    write(root, &record)?;
    Ok(Some(record))
}
