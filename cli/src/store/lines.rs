//! Build progress as plain lines on standard error, as Nix's older commands print it: what is built, and what builders say.

use std::io::Write as _;
use store::build::{Event, Progress};

/// Prints lines.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    /// What stands before store paths: the store directory.
    pub(crate) store_dir: String,
    /// Whether to print what builders say.
    pub(crate) show_logs: bool,
}

impl Progress for Lines {
    fn event(&self, event: &Event<'_>) {
        let line = match event {
            Event::Started { derivation, .. } => format!("building '{}/{derivation}'...", self.store_dir),
            Event::Line { line, .. } if self.show_logs => (*line).to_owned(),
            Event::HookLine { line, .. } => format!("post-build-hook: {line}"),
            _ => return,
        };
        if writeln!(std::io::stderr(), "{line}").is_err() {
            log::debug!("nobody reads standard error");
        }
    }
}
