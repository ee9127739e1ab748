//! The tree on a terminal: drawn over itself ten times a second if it changed, gone when the build ends.

use super::tree::{Style, Tree};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use store::build::{Event, Progress};

/// How often it is drawn.
const PAUSE: Duration = Duration::from_millis(100);

/// The screen that stands on standard error now.
static CURRENT: Mutex<Weak<Screen>> = Mutex::new(Weak::new());

#[derive(Debug, Default)]
struct Drawn {
    tree: Tree,
    /// Whether a build runs.
    active: bool,
    /// What stands on the terminal, below which the cursor is not.
    lines: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Screen {
    with_logs: bool,
    style: Style,
    drawn: Mutex<Drawn>,
}

/// Makes it the screen of this process.
pub(super) fn start(with_logs: bool) -> Arc<Screen> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    let style = Style {
        unicode: locale.contains("utf-8") || locale.contains("utf8"),
        colour: set("NO_COLOR").is_none(),
        width: 80,
        height: 24,
    };
    let screen = Arc::new(Screen { with_logs, style, drawn: Mutex::default() });
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&screen);
    let weak = Arc::downgrade(&screen);
    let ticks = move || {
        while let Some(screen) = weak.upgrade() {
            screen.draw(&mut screen.lock());
            drop(screen);
            std::thread::sleep(PAUSE);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("progress".to_owned()).spawn(ticks) {
        log::debug!("no thread to draw progress: {error}");
    }
    screen
}

/// Does something that writes to standard error, above the tree if there is one.
pub(super) fn above<T>(write_it: impl FnOnce() -> T) -> T {
    let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    match current {
        Some(screen) => {
            let mut drawn = screen.lock();
            wipe(&mut drawn);
            write_it()
        }
        None => write_it(),
    }
}

/// Takes the tree from the terminal, for good: what ends the command comes next.
pub(super) fn clear() {
    let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    if let Some(screen) = current {
        let mut drawn = screen.lock();
        drawn.active = false;
        wipe(&mut drawn);
    }
}

/// What takes lines away that stand on the terminal, with the cursor at the end of the last.
fn erasure(lines: usize) -> String {
    match lines {
        0 => String::new(),
        1 => "\r\x1b[J".to_owned(),
        lines => format!("\r\x1b[{}A\x1b[J", lines - 1),
    }
}

fn wipe(drawn: &mut Drawn) {
    let lines = std::mem::take(&mut drawn.lines);
    if !lines.is_empty() {
        write(&erasure(lines.len()));
    }
}

impl Screen {
    fn lock(&self) -> MutexGuard<'_, Drawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, drawn: &mut Drawn) {
        if !drawn.active {
            return;
        }
        let (width, height) = sys::terminal::size(std::io::stderr().as_fd()).unwrap_or((80, 24));
        let style = Style { width, height: height.saturating_sub(1).max(1), ..self.style };
        let lines = drawn.tree.lines(Instant::now(), style);
        if lines == drawn.lines {
            return;
        }
        // Without wrapping (DECAWM off) a line stays a line whatever its characters' widths are.
        write(&format!("{}\x1b[?7l{}\x1b[?7h", erasure(drawn.lines.len()), lines.join("\n")));
        drawn.lines = lines;
    }
}

impl Progress for Screen {
    fn event(&self, event: &Event<'_>) {
        let mut drawn = self.lock();
        drawn.tree.apply(event, Instant::now());
        match event {
            Event::Planned { builds, fetches } => drawn.active = builds + fetches > 0,
            // Another's daemon tells no plan.
            Event::Started { .. } => drawn.active = true,
            Event::Line { derivation, line } if self.with_logs => {
                wipe(&mut drawn);
                write(&format!("{}> {line}\n", super::name(derivation)));
            }
            Event::Ended => {
                drawn.active = false;
                wipe(&mut drawn);
            }
            _ => {}
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        wipe(&mut self.lock());
    }
}

/// Writes a whole text at once. Progress that nobody can see is no reason to stop a build.
pub(super) fn write(text: &str) -> bool {
    let mut output = io::stderr().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).is_ok()
}
