//! What a build shows while it runs, by `--log-format` (nix(1), with its names): a live tree on a terminal, a few lines
//! that last elsewhere, every line of the builders, or JSON for programs.

mod internal_json;
mod lines;
mod screen;
mod standard_error;
mod tree;

use anyhow::{Result, bail};
use formats::store_path::StorePath;
use std::io::{IsTerminal as _, Write as _};
use std::str::FromStr;
use std::sync::Arc;
use store::build::{Event, Progress};

pub(crate) use lines::Lines;
pub(crate) use standard_error::{StandardError, error, say};

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// A tree of what runs, waits and failed; without a terminal what begins.
    Bar,
    /// The same, and what builders say.
    BarWithLogs,
    /// Lines that last: what begins, and what builders say if that is wanted.
    Raw,
    /// The same, always with what builders say.
    RawWithLogs,
    /// One JSON object a line.
    InternalJson,
}

impl FromStr for LogFormat {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "bar" | "multiline" => Self::Bar,
            "bar-with-logs" | "multiline-with-logs" => Self::BarWithLogs,
            "raw" => Self::Raw,
            "raw-with-logs" => Self::RawWithLogs,
            "internal-json" => Self::InternalJson,
            _ => bail!(
                "log format `{text}` is not known: give bar, bar-with-logs, raw, raw-with-logs or internal-json"
            ),
        })
    }
}

impl LogFormat {
    /// The same format with what builders say, if that is wanted.
    pub(crate) fn with_logs(self, wanted: bool) -> Self {
        match self {
            Self::Bar if wanted => Self::BarWithLogs,
            Self::Raw if wanted => Self::RawWithLogs,
            other => other,
        }
    }

    /// What hears of builds. `show_logs` is the wish of the command, which formats with logs do not need.
    pub(crate) fn progress(self, store_dir: String, show_logs: bool) -> Arc<dyn Progress> {
        let show_logs = show_logs || matches!(self, Self::BarWithLogs | Self::RawWithLogs);
        match self {
            Self::InternalJson => {
                standard_error::speak_json();
                Arc::new(internal_json::InternalJson::new(store_dir))
            }
            Self::Bar | Self::BarWithLogs if std::io::stderr().is_terminal() => {
                screen::start(matches!(self, Self::BarWithLogs))
            }
            Self::Bar | Self::BarWithLogs => Arc::new(Brief { show_logs }),
            Self::Raw | Self::RawWithLogs => Arc::new(Lines { store_dir, show_logs }),
        }
    }
}

/// Progress for this process's standard error when nothing is asked for.
pub(crate) fn usual() -> Arc<dyn Progress> {
    LogFormat::Bar.progress(String::new(), false)
}

/// What builders say, as they said it, phases among it: the log of a build for another machine.
#[derive(Debug)]
pub(crate) struct OnlyBuilders;

impl Progress for OnlyBuilders {
    fn event(&self, event: &Event<'_>) {
        let told = match event {
            Event::Line { line, .. } => writeln!(std::io::stderr(), "{line}"),
            Event::Phase { phase, .. } => {
                let message = serde_json::json!({ "action": "setPhase", "phase": phase });
                writeln!(std::io::stderr(), "@nix {message}")
            }
            _ => return,
        };
        if let Err(error) = told {
            log::debug!("a line of a log is lost: {error}");
        }
    }
}

/// The name without hash and `.drv`.
fn name(path: &StorePath) -> &str {
    path.name().strip_suffix(".drv").unwrap_or(path.name())
}

/// What is left of the tree where there is no terminal: the plan, and each build as it begins.
#[derive(Debug)]
struct Brief {
    show_logs: bool,
}

impl Progress for Brief {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Planned { builds, fetches } if builds + fetches > 0 => {
                say(&format!("{builds} to build, {fetches} to download"));
            }
            Event::Started { derivation, fetch: false } => say(&format!("building {}", name(derivation))),
            Event::Line { derivation, line } if self.show_logs => {
                say(&format!("{}> {line}", name(derivation)));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_the_names_that_nix_has() {
        assert_eq!("multiline-with-logs".parse::<LogFormat>().unwrap(), LogFormat::BarWithLogs);
        assert_eq!("internal-json".parse::<LogFormat>().unwrap(), LogFormat::InternalJson);
        let error = "json".parse::<LogFormat>().unwrap_err().to_string();
        assert!(error.contains("internal-json"), "{error}");
    }
}
