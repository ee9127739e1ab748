//! Timer units (systemd.timer(5)): when each elapses next, by the clock that runs since boot or by the calendar.
//!
//! A timer that has elapsed waits until what it started is down again and is planned anew then. The calendar's clock may be set:
//! a timerfd_create(2) with TFD_TIMER_CANCEL_ON_SET tells, and everything is planned anew.

use super::engine::Event;
use super::{Supervisor, now};
use crate::console::{self, Level};
use formats::calendar::Calendar;
use formats::service_graph::UnitKind;
use formats::service_graph::key::{Key, flag};
use formats::service_graph::view::Unit;
use formats::time_zone::TimeZone;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::fs::{File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the last run of timers with Persistent= is noted, as systemd does.
const STAMPS: &str = "/var/lib/systemd/timers";

/// Where time zones lie; the first that has the file counts.
const ZONES: [&str; 3] = ["/etc/zoneinfo", "/run/current-system/sw/share/zoneinfo", "/usr/share/zoneinfo"];

/// One armed timer. Times are microseconds, since boot or since 1970.
#[derive(Debug, Clone, Default)]
pub(super) struct Timer {
    /// When it elapses next by the clock since boot.
    pub(super) at: Option<u64>,
    /// When it elapses next by the calendar.
    at_real: Option<u64>,
    /// When it was armed.
    armed: u64,
    armed_real: u64,
    /// When it elapsed last; 0 for never. A successor finds it in the unit's record.
    pub(super) last: u64,
    last_real: u64,
    /// What it started is not down yet.
    waits: bool,
}

impl Timer {
    /// Nothing is left that would make it elapse.
    pub(super) fn is_over(&self) -> bool {
        self.at.is_none() && self.at_real.is_none()
    }
}

impl Timer {
    /// A timer that a predecessor armed at `armed` and that elapsed at `last`, both since boot.
    fn taken_over(armed: u64, last: u64, moment: &Moment) -> Self {
        let real = |at: u64| moment.now_real.saturating_sub(moment.now.saturating_sub(at));
        let last_real = if last == 0 { 0 } else { real(last) };
        Self { armed, armed_real: real(armed), last, last_real, ..Self::default() }
    }
}

/// Microseconds of CLOCK_REALTIME.
pub(super) fn now_real() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_micros() as u64)
}

/// The time zone of an expression; a name that has no file is UTC, which the log says.
fn zone_of(calendar: &Calendar) -> TimeZone {
    let read = |path: &Path| TimeZone::parse(&std::fs::read(path).ok()?);
    match calendar.zone() {
        None => read(Path::new("/etc/localtime")).unwrap_or_else(TimeZone::utc),
        Some("UTC") => TimeZone::utc(),
        Some(name) => {
            ZONES.iter().find_map(|directory| read(&Path::new(directory).join(name))).unwrap_or_else(|| {
                console::log(
                    Level::Warning,
                    &format!("there is no time zone `{name}`; its times are taken as UTC"),
                );
                TimeZone::utc()
            })
        }
    }
}

/// FNV-1a: the same delay for the same timer on the same machine.
fn stable_number(unit: &str) -> u64 {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let bytes = machine.trim().bytes().chain([0]).chain(unit.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ hash >> 29
}

fn stamp_path(unit: &Unit<'_>) -> PathBuf {
    Path::new(STAMPS).join(format!("stamp-{}", unit.name()))
}

/// The last run as the stamp has it. A timer that has none begins now.
fn read_stamp(unit: &Unit<'_>) -> u64 {
    let path = stamp_path(unit);
    let modified = path.metadata().and_then(|meta| meta.modified()).ok();
    if let Some(span) = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()) {
        return span.as_micros() as u64;
    }
    write_stamp(unit, now_real());
    0
}

fn write_stamp(unit: &Unit<'_>, at: u64) {
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(STAMPS)?;
        let file = File::options().create(true).append(true).open(stamp_path(unit))?;
        file.set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_micros(at)))?;
        file.sync_all()
    };
    if let Err(error) = write() {
        let text = format!("{}: its last run cannot be noted in {STAMPS}: {error}", unit.name());
        console::log(Level::Warning, &text);
    }
}

/// A timer's settings with what is known of it and of the unit that it starts, to the next times.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    now: u64,
    now_real: u64,
    /// When the unit that it starts came up last, and went down last; 0 for never.
    up: u64,
    down: u64,
}

/// When a timer elapses next by the clock since boot. What happens but once is over when it was before `over`.
fn next_since_boot(unit: &Unit<'_>, timer: &Timer, moment: &Moment, over: u64) -> Option<u64> {
    let once = |key: Key, base: u64| {
        let times: Vec<u64> = unit.numbers(key).map(|span| base.saturating_add(span)).collect();
        times.into_iter().filter(|at| over == 0 || *at > over).collect::<Vec<_>>()
    };
    let again = |key: Key, base: u64| {
        let base = base.max(timer.last);
        let spans = unit.numbers(key).filter(|_| base != 0);
        spans.map(|span| base.saturating_add(span)).collect::<Vec<_>>()
    };
    let mut times = once(Key::OnActive, timer.armed);
    times.extend(once(Key::OnBoot, 0));
    times.extend(once(Key::OnStartup, 0));
    times.extend(again(Key::OnUnitActive, moment.up));
    times.extend(again(Key::OnUnitInactive, moment.down));
    times.into_iter().filter(|at| *at != u64::MAX).min()
}

/// When it elapses next by the calendar.
fn next_by_calendar(
    unit: &Unit<'_>,
    timer: &Timer,
    moment: &Moment,
    zone_of: impl Fn(&Calendar) -> TimeZone,
) -> Option<u64> {
    let base = if timer.last_real != 0 { timer.last_real } else { timer.armed_real };
    let boot = moment.now_real.saturating_sub(moment.now);
    unit.texts(Key::OnCalendar)
        .filter_map(|text| Calendar::parse(text).ok())
        .filter_map(|calendar| calendar.next(base, &zone_of(&calendar)))
        // What was missed while the machine was off counts from its start, so that a random delay still spreads it.
        .map(|at| at.max(boot))
        .min()
}

impl Supervisor {
    /// Arms a timer.
    pub(super) fn arm_timer(&mut self, unit: &Unit<'_>) {
        let (armed, armed_real) = (now(), now_real());
        let last_real =
            if unit.flag(flag::PERSISTENT) && unit.has(Key::OnCalendar) { read_stamp(unit) } else { 0 };
        let timer = Timer { armed, armed_real, last_real: last_real.min(armed_real), ..Timer::default() };
        self.timers.insert(unit.index(), timer);
        // What has passed happens when the timer has just been armed.
        self.plan_timer(unit.index(), 0);
    }

    /// Goes on with a timer that a predecessor armed: what elapsed does not elapse again, and what should have while nobody was
    /// there does now.
    pub(super) fn take_timer_over(&mut self, unit: &Unit<'_>, armed: u64, last: u64) {
        let moment = Moment { now: now(), now_real: now_real(), ..Moment::default() };
        let mut timer = Timer::taken_over(armed, last, &moment);
        if unit.flag(flag::PERSISTENT) && unit.has(Key::OnCalendar) {
            timer.last_real = timer.last_real.max(read_stamp(unit).min(moment.now_real));
        }
        let mut is_up = false;
        for target in unit.units(Key::Triggers) {
            let state = self.state.unit(target);
            is_up |= !state.is_down() || state.job.is_some();
            if state.since != 0 {
                let lives = if state.is_down() { (0, state.since) } else { (state.since, 0) };
                self.lives.insert(target, lives);
            }
        }
        // It elapsed, and what it started still runs.
        timer.waits = is_up && last != 0;
        let waits = timer.waits;
        self.timers.insert(unit.index(), timer);
        if waits {
            self.set_alarm();
        } else {
            self.plan_timer(unit.index(), last.max(armed));
        }
    }

    /// Works out when a timer elapses next.
    fn plan_timer(&mut self, index: u32, over: u64) {
        let (Some(unit), Some(timer)) = (self.graph.unit(index), self.timers.get(&index)) else { return };
        let mut moment = Moment { now: now(), now_real: now_real(), ..Moment::default() };
        for target in unit.units(Key::Triggers) {
            if let Some((up, down)) = self.lives.get(&target) {
                (moment.up, moment.down) = (*up, *down);
            }
        }
        let delay = match unit.number(Key::RandomizedDelaySec) {
            None | Some(0) => 0,
            Some(span) => {
                let number = if unit.flag(flag::FIXED_RANDOM_DELAY) {
                    stable_number(unit.name())
                } else {
                    u64::from_str_radix(self.identifiers.draw().get(..16).unwrap_or("0"), 16).unwrap_or(0)
                };
                if span == u64::MAX { number >> 1 } else { number % (span + 1) }
            }
        };
        let later = |at: u64| at.saturating_add(delay);
        let at = next_since_boot(&unit, timer, &moment, over).map(later);
        let at_real = next_by_calendar(&unit, timer, &moment, zone_of).map(later);
        if let Some(timer) = self.timers.get_mut(&index) {
            (timer.at, timer.at_real, timer.waits) = (at, at_real, false);
        }
        self.set_alarm();
    }

    /// Sets the calendar's clock to the next time; with no calendar in use there is none.
    fn set_alarm(&mut self) {
        let watches_clock = |unit: &Unit<'_>| unit.has(Key::OnCalendar) || unit.flag(flag::ON_CLOCK_CHANGE);
        if !self.timers.keys().filter_map(|index| self.graph.unit(*index)).any(|unit| watches_clock(&unit)) {
            return;
        }
        if self.alarm.is_none() {
            let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
            let Ok(alarm) = TimerFd::new(ClockId::CLOCK_REALTIME, flags) else { return };
            crate::best_effort::tolerate(
                self.epoll.add(&alarm, EpollEvent::new(EpollFlags::EPOLLIN, super::ALARM)),
            );
            self.alarm = Some(alarm);
        }
        let next = self.timers.values().filter_map(|timer| timer.at_real).min();
        // Far away when nothing is due: it still tells that the clock was set.
        let next = next.unwrap_or(u64::MAX >> 2).clamp(1, (i64::MAX / 4096) as u64);
        let at = Expiration::OneShot(TimeSpec::microseconds(next as i64));
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        if let Some(alarm) = &self.alarm {
            crate::best_effort::tolerate(alarm.set(at, flags));
        }
    }

    /// The calendar's clock has reached a time, or was set.
    pub(super) fn alarm_rings(&mut self) {
        let Some(alarm) = &self.alarm else { return };
        let was_set = alarm.wait() == Err(nix::Error::ECANCELED);
        if was_set {
            let waiting: Vec<u32> =
                self.timers.iter().filter(|(_, timer)| !timer.waits).map(|(index, _)| *index).collect();
            for index in waiting {
                if self.graph.unit(index).is_some_and(|unit| unit.flag(flag::ON_CLOCK_CHANGE)) {
                    self.elapse(index);
                } else {
                    self.plan_timer(index, now());
                }
            }
        }
        self.set_alarm();
    }

    /// The machine's time zone has changed.
    pub(super) fn time_zone_changed(&mut self) {
        let all: Vec<u32> =
            self.timers.iter().filter(|(_, timer)| !timer.waits).map(|(index, _)| *index).collect();
        for index in all {
            let Some(unit) = self.graph.unit(index) else { continue };
            if unit.flag(flag::ON_TIMEZONE_CHANGE) {
                self.elapse(index);
            } else if unit.has(Key::OnCalendar) {
                self.plan_timer(index, now());
            }
        }
    }

    /// Timers whose time has come.
    pub(super) fn fire_timers(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let (now, real) = (now(), now_real());
        let is_due = |timer: &Timer| {
            timer.at.is_some_and(|at| at <= now) || timer.at_real.is_some_and(|at| at <= real)
        };
        let due: Vec<u32> =
            self.timers.iter().filter(|(_, timer)| is_due(timer)).map(|(index, _)| *index).collect();
        for index in due {
            self.elapse(index);
        }
    }

    fn elapse(&mut self, index: u32) {
        let (Some(unit), Some(timer)) = (self.graph.unit(index), self.timers.get_mut(&index)) else { return };
        (timer.last, timer.last_real) = (now(), now_real());
        (timer.at, timer.at_real, timer.waits) = (None, None, true);
        if unit.flag(flag::PERSISTENT) && unit.has(Key::OnCalendar) {
            write_stamp(&unit, timer.last_real);
        }
        // Before anything that it starts: a successor must not start that again.
        self.note(index);
        self.feed(&Event::Fired { unit: index });
        self.set_alarm();
    }

    /// A unit that timers start has changed: how it lives is noted, and when it is down they are planned anew.
    pub(super) fn timers_see(&mut self, target: u32) {
        let Some(unit) = self.graph.unit(target).filter(|unit| unit.has(Key::TriggeredBy)) else { return };
        let state = self.state.unit(target);
        let is_down = state.is_down();
        let (up, down) = self.lives.get_or_default(target);
        if is_down {
            *down = now();
        } else if *up <= *down {
            *up = now();
        }
        if !is_down || state.job.is_some() {
            return;
        }
        let timers: Vec<u32> = unit
            .units(Key::TriggeredBy)
            .filter(|by| self.graph.unit(*by).is_some_and(|unit| unit.kind() == UnitKind::Timer))
            .filter(|by| self.timers.get(by).is_some_and(|timer| timer.waits))
            .collect();
        for timer in timers {
            self.plan_timer(timer, now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::service_graph::builder::{GraphBuilder, Settings, Value};
    use formats::service_graph::view::Graph;

    fn graph(settings: Settings) -> Vec<u8> {
        let mut builder = GraphBuilder::default();
        builder.add("a.timer", settings);
        builder.build().unwrap()
    }

    #[test]
    fn spans_count_from_boot_from_arming_and_from_what_was_started() {
        let file = graph(Settings::from([
            (Key::OnBoot, Value::Numbers(vec![50])),
            (Key::OnActive, Value::Numbers(vec![7])),
            (Key::OnUnitActive, Value::Numbers(vec![30])),
            (Key::OnUnitInactive, Value::Numbers(vec![25])),
        ]));
        let graph = Graph::load(&file).unwrap();
        let unit = graph.find("a.timer").unwrap();
        let mut timer = Timer { armed: 100, ..Timer::default() };
        let moment = |now, up, down| Moment { now, up, down, ..Moment::default() };
        assert_eq!(
            next_since_boot(&unit, &timer, &moment(100, 0, 0), 0),
            Some(50),
            "boot has long been: at once"
        );
        timer.last = 100;
        assert_eq!(next_since_boot(&unit, &timer, &moment(101, 101, 0), 101), Some(107));
        timer.last = 107;
        assert_eq!(next_since_boot(&unit, &timer, &moment(120, 107, 118), 120), Some(137));
        assert_eq!(next_since_boot(&unit, &timer, &moment(120, 107, 108), 120), Some(133));
        timer.last = 500;
        assert_eq!(
            next_since_boot(&unit, &timer, &moment(501, 107, 108), 501),
            Some(525),
            "never back in time"
        );
    }

    /// A supervisor that takes over is no boot: what happened once is over, what was due meanwhile happens.
    #[test]
    fn a_timer_that_is_taken_over_does_not_elapse_again() {
        let file = graph(Settings::from([
            (Key::OnBoot, Value::Numbers(vec![50])),
            (Key::OnActive, Value::Numbers(vec![60])),
            (Key::OnUnitInactive, Value::Numbers(vec![400])),
        ]));
        let graph = Graph::load(&file).unwrap();
        let unit = graph.find("a.timer").unwrap();
        let moment = Moment { now: 500, now_real: 10_500, ..Moment::default() };
        let next = |armed: u64, last: u64| {
            let timer = Timer::taken_over(armed, last, &moment);
            next_since_boot(&unit, &timer, &moment, last.max(armed))
        };
        assert_eq!(next(10, 80), Some(480), "by its last time alone, which was due a moment ago");
        assert_eq!(next(10, 0), Some(50), "due while there was no supervisor");
        assert_eq!(next(490, 0), Some(550), "armed after it was due: over before");
        assert_eq!(next(490, 495), Some(550));
        let timer = Timer::taken_over(100, 200, &moment);
        assert_eq!((timer.armed_real, timer.last_real), (10_100, 10_200));
    }

    #[test]
    fn a_missed_calendar_time_is_made_up_for_only_when_it_was_noted() {
        let file = graph(Settings::from([(Key::OnCalendar, Value::Texts(vec!["*-*-* 00:00:00".into()]))]));
        let graph = Graph::load(&file).unwrap();
        let unit = graph.find("a.timer").unwrap();
        let day = 86_400_000_000;
        let moment = Moment { now: 1000, now_real: 10 * day + 5, ..Moment::default() };
        let next = |timer: &Timer| next_by_calendar(&unit, timer, &moment, |_| TimeZone::utc());
        let armed = Timer { armed_real: 10 * day + 5, ..Timer::default() };
        assert_eq!(next(&armed), Some(11 * day));
        assert_eq!(next(&Timer { last_real: 10 * day, ..armed.clone() }), Some(11 * day), "it ran today");
        assert_eq!(
            next(&Timer { last_real: 7 * day, ..armed }),
            Some(10 * day + 5 - 1000),
            "missed: at the machine's start"
        );
    }
}
