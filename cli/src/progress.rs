//! What a build shows while it runs. On a terminal: one status line that counts, below the lines that last. Elsewhere only
//! what lasts: a line when a build starts, and its end when it fails.

use formats::store_path::StorePath;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use store::build::{Event, Progress};

/// Progress for this process's standard error.
pub(crate) fn for_terminal() -> Arc<dyn Progress> {
    Arc::new(StatusLine { terminal: std::io::stderr().is_terminal(), state: Mutex::default() })
}

#[derive(Debug, Default)]
struct State {
    builds: usize,
    fetches: usize,
    done: usize,
    /// What runs, with its download's bytes.
    running: BTreeMap<StorePath, (Instant, u64)>,
    shown: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
struct StatusLine {
    terminal: bool,
    state: Mutex<State>,
}

/// The name without hash and `.drv`.
fn name(derivation: &StorePath) -> &str {
    derivation.name().strip_suffix(".drv").unwrap_or(derivation.name())
}

impl StatusLine {
    /// Prints the counts, at most ten times a second.
    fn show(&self, state: &mut State, always: bool) {
        let now = Instant::now();
        if !self.terminal
            || !always && state.shown.is_some_and(|shown| now.duration_since(shown).as_millis() < 100)
        {
            return;
        }
        state.shown = Some(now);
        let mut text = format!("[{}/{}]", state.done, state.builds + state.fetches);
        for (derivation, (_, bytes)) in state.running.iter().take(4) {
            text.push(' ');
            text.push_str(name(derivation));
            if *bytes > 0 {
                let size = format!(" ({:.1} MB)", *bytes as f64 / 1e6);
                text.push_str(&size);
            }
        }
        if state.running.len() > 4 {
            let others = format!(" and {} more", state.running.len() - 4);
            text.push_str(&others);
        }
        let text: String = text.chars().take(110).collect();
        write(&format!("\r\x1b[K{text}"));
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        write(&format!("{clear}{text}\n"));
    }
}

fn write(text: &str) {
    let mut output = std::io::stderr().lock();
    // Progress that nobody can see is no reason to stop a build.
    if output.write_all(text.as_bytes()).and_then(|()| output.flush()).is_err() {
        log::debug!("standard error is gone");
    }
}

impl Progress for StatusLine {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Planned { builds, fetches } => {
                (state.builds, state.fetches) = (*builds, *fetches);
                if builds + fetches > 0 {
                    self.line(&format!("{builds} to build, {fetches} to download"));
                }
            }
            Event::Started { derivation, fetch } => {
                state.running.insert((*derivation).clone(), (Instant::now(), 0));
                if !self.terminal && !fetch {
                    self.line(&format!("building {}", name(derivation)));
                }
            }
            Event::Downloaded { derivation, done, .. } => {
                if let Some((_, bytes)) = state.running.get_mut(*derivation) {
                    *bytes = *done;
                }
            }
            Event::Finished { derivation, .. } => {
                state.running.remove(*derivation);
                state.done += 1;
                if self.terminal && state.running.is_empty() && state.done == state.builds + state.fetches {
                    write("\r\x1b[K");
                    return;
                }
            }
            _ => {}
        }
        self.show(&mut state, false);
    }
}
