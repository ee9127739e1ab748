//! How much one unit may log (journald.conf(5), `RateLimitIntervalSec=`, `RateLimitBurst=`): so many messages in so much
//! time; what is above is counted, not kept, and the count is logged.

/// So many messages in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Messages; 0 for no limit.
    pub burst: u32,
    /// Microseconds; 0 for no limit.
    pub interval: u64,
}

impl Default for Limit {
    /// journald's.
    fn default() -> Self {
        Self { burst: 10_000, interval: 30_000_000 }
    }
}

/// What a unit has written in the present interval.
#[derive(Debug, Default)]
pub struct Flood {
    begun: u64,
    count: u32,
    dropped: u32,
}

impl Flood {
    /// Whether one more message is kept at that time (microseconds of a clock that only goes forward).
    pub fn takes(&mut self, limit: Limit, now: u64) -> bool {
        if limit.burst == 0 || limit.interval == 0 {
            return true;
        }
        if self.is_over(limit, now) {
            self.begun = now;
            self.count = 0;
        }
        if self.count < limit.burst {
            self.count += 1;
            return true;
        }
        self.dropped = self.dropped.saturating_add(1);
        false
    }

    fn is_over(&self, limit: Limit, now: u64) -> bool {
        now >= self.begun.saturating_add(limit.interval)
    }

    /// How many were dropped, once, when the interval that they were dropped in is over.
    pub fn dropped(&mut self, limit: Limit, now: u64) -> Option<u32> {
        let is_due = self.dropped > 0 && self.is_over(limit, now);
        is_due.then(|| std::mem::take(&mut self.dropped))
    }

    /// Whether a count waits to be told.
    pub const fn owes(&self) -> bool {
        self.dropped > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_the_burst_is_counted_and_told_once() {
        let limit = Limit { burst: 3, interval: 100 };
        let mut flood = Flood::default();
        let taken: Vec<bool> = (0..5).map(|_| flood.takes(limit, 1000)).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert_eq!(flood.dropped(limit, 1050), None);
        assert_eq!(flood.dropped(limit, 1100), Some(2));
        assert_eq!(flood.dropped(limit, 1100), None);
        assert!(flood.takes(limit, 1101));
        assert!((0..9).all(|_| Flood::default().takes(Limit { burst: 0, interval: 1 }, 0)));
    }
}
