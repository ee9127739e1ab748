//! Build progress as plain lines on standard error, as Nix's older commands print it: what is built, and what builders say.

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
        match event {
            Event::Started { derivation, fetch: true } if !derivation.is_derivation() => {
                super::say(&format!("copying path '{}/{derivation}'...", self.store_dir));
            }
            Event::Started { derivation, .. } => {
                super::say(&format!("building '{}/{derivation}'...", self.store_dir));
            }
            Event::Line { line, .. } if self.show_logs => super::say(line),
            Event::Warning { text, .. } => super::say(&format!("warning: {text}")),
            Event::HookLine { line, .. } => super::say(&format!("post-build-hook: {line}")),
            _ => {}
        }
    }
}
