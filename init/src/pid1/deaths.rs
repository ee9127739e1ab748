//! How soon the supervisor is started again when it has died: at once, as long as the deaths are few; then after waits that
//! double, so that a fault that lasts does not take the machine's time. Services, reaping and the watchdog go on meanwhile.

use std::time::{Duration, Instant};

/// So many deaths in [`WITHIN`] are taken as they come.
const FEW: usize = 8;

/// What counts as one row of deaths; a supervisor that lives longer ends it.
const WITHIN: Duration = Duration::from_secs(20);

/// The first wait, and the longest.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(16)];

/// The supervisor's deaths.
#[derive(Debug)]
pub(super) struct Deaths {
    times: Vec<Instant>,
    wait: Duration,
    not_before: Option<Instant>,
    started: Instant,
    /// Whether one has lived for longer than [`WITHIN`]: then there are ways to log in, or nobody wants them.
    has_lived: bool,
}

/// What follows from a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is started again.
    AtOnce,
    /// It is started again later.
    After(Duration),
}

impl Deaths {
    pub(super) fn new(now: Instant) -> Self {
        Self { times: Vec::new(), wait: WAITS[0], not_before: None, started: now, has_lived: false }
    }

    /// A supervisor was started.
    pub(super) fn started(&mut self, now: Instant) {
        self.started = now;
        self.not_before = None;
    }

    /// It has died, or could not be started.
    pub(super) fn died(&mut self, now: Instant) -> Next {
        if now.duration_since(self.started) >= WITHIN {
            self.has_lived = true;
            self.times.clear();
            self.wait = WAITS[0];
        }
        self.times.retain(|at| now.duration_since(*at) < WITHIN);
        self.times.push(now);
        // Once there were too many, each counts until one lives.
        if self.times.len() <= FEW && self.wait == WAITS[0] {
            return Next::AtOnce;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(WAITS[1]);
        self.not_before = Some(now + wait);
        Next::After(wait)
    }

    /// How long to wait before the next start.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// Whether no supervisor has lived yet: nobody may be able to log in, so a shell on the console is what helps.
    pub(super) fn needs_shell(&self) -> bool {
        self.not_before.is_some() && !self.has_lived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_deaths_are_taken_as_they_come_and_then_waits_double() {
        let mut now = Instant::now();
        let mut deaths = Deaths::new(now);
        let mut waits = Vec::new();
        for _ in 0..16 {
            now += Duration::from_millis(700);
            match deaths.died(now) {
                Next::AtOnce => waits.push(0),
                Next::After(wait) => {
                    assert_eq!(deaths.left(now), wait);
                    assert!(deaths.needs_shell());
                    waits.push(wait.as_secs());
                    now += wait;
                }
            }
            assert_eq!(deaths.left(now), Duration::ZERO);
            deaths.started(now);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 16, 16, 16]);
        // One that lives ends the row.
        now += WITHIN;
        assert_eq!(deaths.died(now), Next::AtOnce);
        assert!(!deaths.needs_shell());
    }

    #[test]
    fn deaths_far_apart_never_wait() {
        let mut now = Instant::now();
        let mut deaths = Deaths::new(now);
        for _ in 0..100 {
            now += Duration::from_secs(3);
            assert_eq!(deaths.died(now), Next::AtOnce);
            deaths.started(now);
        }
    }
}
