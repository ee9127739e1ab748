//! The guest's serial console as the host sees it: a log file, a transcript without escape sequences to wait in, and
//! a terminal screen to look at. One thread reads; everybody else waits on a condition variable.

mod transcript;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{ConsoleTail, Error, Result};
use crate::screen::Screen;
use transcript::Transcript;

/// Rows and columns. OVMF centres its menus on 80 columns and up to 57 rows; who assumes 24 rows stays above.
const SIZE: (u16, u16) = (60, 80);

/// A console that is being read.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    writer: Mutex<Option<UnixStream>>,
}

struct State {
    transcript: Transcript,
    /// Where the next wait begins to look: after what the last one found.
    mark: usize,
    parser: vt100::Parser,
    closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("length", &self.transcript.text().len()).finish_non_exhaustive()
    }
}

impl Console {
    /// Reads everything that comes, into the log file as well, until the other side closes.
    pub(crate) fn attach(stream: UnixStream, log: &Path) -> Result<Self> {
        let mut file =
            File::options().create(true).append(true).open(log).map_err(Error::file("cannot create", log))?;
        let mut reader =
            stream.try_clone().map_err(Error::file("cannot use the console's socket for", log))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                transcript: Transcript::default(),
                mark: 0,
                parser: vt100::Parser::new(SIZE.0, SIZE.1, 0),
                closed: false,
            }),
            changed: Condvar::new(),
            writer: Mutex::new(Some(stream)),
        });
        let console = Self { shared };
        let reading = console.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let bytes = match reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => buffer.get(..length).unwrap_or_default(),
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                // The log is for people; a full disk must not stop the test.
                drop(file.write_all(bytes));
                let mut state = reading.lock();
                state.transcript.push(bytes);
                state.parser.process(bytes);
                drop(state);
                reading.shared.changed.notify_all();
            }
            reading.lock().closed = true;
            reading.shared.changed.notify_all();
        });
        Ok(console)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Types bytes.
    pub(crate) fn send(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?.write_all(bytes)
    }

    /// Waits until `look` finds something, the console closes or the time is over: `None` then.
    fn wait<T>(&self, limit: Duration, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.closed {
                return None;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a text after what the last wait found; what is found counts as read.
    pub(crate) fn wait_for_text(&self, wanted: &str, limit: Duration) -> bool {
        self.wait(limit, |state| {
            let at = state.transcript.text().get(state.mark..)?.find(wanted)?;
            state.mark += at + wanted.len();
            Some(())
        })
        .is_some()
    }

    /// Waits for a text after what the last wait found, without counting it as read.
    pub(crate) fn says(&self, wanted: &str, limit: Duration) -> bool {
        let look =
            |state: &mut State| state.transcript.text().get(state.mark..)?.contains(wanted).then_some(());
        self.wait(limit, look).is_some()
    }

    /// Waits until the screen is as `look` wants it.
    pub(crate) fn wait_for_screen<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&Screen) -> Option<T>,
    ) -> Option<T> {
        self.wait(limit, |state| look(&Screen::of(state.parser.screen())))
    }

    /// The screen as it is once nothing has changed for a moment: menus are drawn piece by piece.
    pub(crate) fn settled_screen(&self) -> Screen {
        let mut screen = self.screen();
        for _ in 0..20 {
            let changed =
                self.wait_for_screen(Duration::from_millis(200), |now| (*now != screen).then(|| now.clone()));
            match changed {
                Some(now) => screen = now,
                None => break,
            }
        }
        screen
    }

    /// The screen as it is now.
    pub(crate) fn screen(&self) -> Screen {
        Screen::of(self.lock().parser.screen())
    }

    /// Everything said so far, without escape sequences.
    pub(crate) fn text(&self) -> String {
        self.lock().transcript.text().to_owned()
    }

    /// Counts everything said so far as read.
    pub(crate) fn skip(&self) {
        let mut state = self.lock();
        state.mark = state.transcript.text().len();
    }

    /// Whether the other side has closed.
    pub(crate) fn closed(&self) -> bool {
        self.lock().closed
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> ConsoleTail {
        let state = self.lock();
        let lines: Vec<&str> =
            state.transcript.text().lines().filter(|line| !line.trim().is_empty()).collect();
        ConsoleTail(
            lines.iter().skip(lines.len().saturating_sub(20)).map(|line| (*line).to_owned()).collect(),
        )
    }
}
