//! Where each unit stands, as numbers in the shared memory: written at every change, read by a successor.

use super::engine::Role;
use super::engine::unit_state::{Job, JobKind, Outcome, PENDING_PID, Phase};
use super::{LogPipe, Supervisor};
use crate::console::{self, Level};
use crate::hand_over::HandOver;
use crate::sorted_map::SortedMap;
use formats::control::{ActiveState, Shutdown};
use formats::service_graph::UnitKind;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::AsFd as _;

/// Flags in the record's first word, above the phase.
const HELD: u32 = 1 << 8;
const POPULATED: u32 = 1 << 9;
/// One more than the kind of the unit's job, in three bits, and whether it is under way.
const JOB_SHIFT: u32 = 10;
const JOB_RUNS: u32 = 1 << 13;
/// No restart after the end that is on its way.
const FORBIDDEN: u32 = 1 << 14;
/// How many milliseconds the last start took, above the exit status.
const TOOK_SHIFT: u32 = 11;
/// Which command of the phase runs, in the upper half.
const COMMAND_SHIFT: u32 = 16;

/// The job in a record's first word.
fn job_of(first: u32) -> Option<Job> {
    const KINDS: [JobKind; 5] =
        [JobKind::Start, JobKind::Stop, JobKind::Restart, JobKind::TryRestart, JobKind::Reload];
    let kind = *KINDS.get((first >> JOB_SHIFT & 7).checked_sub(1)? as usize)?;
    Some(Job { kind, running: first & JOB_RUNS != 0 })
}

/// How a unit goes on under a new supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GoingOn {
    /// Where it stands.
    phase: Phase,
    /// The job that is under way.
    runs: Option<JobKind>,
    /// What is asked for anew.
    request: Option<JobKind>,
}

/// A unit as the record has it, with whether its main and its control process are there. What waits for a process that is there goes
/// on; what was between two processes goes back to where it can be asked for again what was asked for.
fn going_on(kind: UnitKind, phase: Phase, job: Option<Job>, (main, control): (bool, bool)) -> GoingOn {
    let runs = job.filter(|job| job.running).map(|job| job.kind);
    let waits = job.filter(|job| !job.running).map(|job| job.kind);
    let asked = job.map(|job| job.kind);
    let as_it_is = GoingOn { phase, runs, request: waits };
    let again = |phase, request| GoingOn { phase, runs: None, request };
    // The half of a restart that begins anew is a start.
    let start = if asked == Some(JobKind::Stop) { JobKind::Stop } else { JobKind::Start };
    match phase {
        Phase::AutoRestart => again(phase, asked),
        Phase::Checking
        | Phase::Condition
        | Phase::StartPre
        | Phase::Start
        | Phase::Arming
        | Phase::Mounting
            if !main && !control =>
        {
            again(Phase::Dead, Some(start))
        }
        Phase::StartPost if !control && kind == UnitKind::Socket => again(Phase::Armed, Some(start)),
        Phase::StartPost if !control && main => again(Phase::Running, Some(start)),
        Phase::StartPost if !control => again(Phase::Dead, Some(start)),
        Phase::Stop if !control && kind == UnitKind::Socket => again(Phase::Armed, asked),
        // Without a job it goes down by itself, as nothing of it is there.
        Phase::Stop if !control => again(Phase::Running, asked),
        Phase::StopPost if !control => GoingOn { phase: Phase::StopSigterm, ..as_it_is },
        Phase::Unmounting if !control => again(Phase::Mounted, asked.or(Some(JobKind::Stop))),
        // Nothing is on its way: what was asked for is asked for again.
        _ if !matches!(
            phase.active(),
            ActiveState::Activating | ActiveState::Deactivating | ActiveState::Reloading
        ) =>
        {
            again(phase, asked)
        }
        _ => as_it_is,
    }
}

impl Supervisor {
    /// Writes a unit's record.
    pub(super) fn note(&self, index: u32) {
        self.note_in(&self.memory, index);
    }

    /// Whether somebody has asked for a unit already.
    pub(super) fn is_begun(&self, index: u32) -> bool {
        let state = self.state.unit(index);
        state.since != 0 || state.job.is_some() || self.memory.ending().is_some() || self.is_requested(index)
    }

    fn is_requested(&self, index: u32) -> bool {
        let is_it =
            |event: &super::Event| matches!(event, super::Event::Request { unit, .. } if *unit == index);
        self.events.iter().any(is_it)
    }

    /// Writes it into that bank of the memory.
    pub(super) fn note_in(&self, memory: &HandOver, index: u32) {
        let state = self.state.unit(index);
        let pid = |pid: u32| if pid == PENDING_PID { 0 } else { pid };
        let mut first = state.phase as u32;
        if state.held {
            first |= HELD;
        }
        if state.populated {
            first |= POPULATED;
        }
        if state.forbid_restart {
            first |= FORBIDDEN;
        }
        if let Some(job) = state.job {
            first |= (job.kind as u32 + 1) << JOB_SHIFT | if job.running { JOB_RUNS } else { 0 };
        }
        first |= (state.command.min(usize::from(u16::MAX)) as u32) << COMMAND_SHIFT;
        let tag = self.logs.get(&index).map_or(0, |log| log.tag);
        let took = u32::try_from(state.took.div_ceil(1000)).unwrap_or(u32::MAX).min(u32::MAX >> TOOK_SHIFT);
        // A timer has no processes: their words say when it elapsed last.
        let last = self.timers.get(&index).map_or(0, |timer| timer.last);
        let is_timer = self.graph.unit(index).is_some_and(|unit| unit.kind() == UnitKind::Timer);
        let (main, control) = if is_timer {
            (last as u32, (last >> 32) as u32)
        } else {
            (pid(state.main_pid), pid(state.control_pid))
        };
        let record = [
            first,
            main,
            control,
            state.outcome as u32 | state.restarts << 8,
            state.exit_status | took << TOOK_SHIFT,
            state.since as u32,
            (state.since >> 32) as u32,
            tag,
        ];
        memory.set_record(index, &record);
    }

    /// Reads every record, finds the descriptors that PID 1 held, and takes up what was under way.
    pub(super) fn restore(&mut self, held: &[String]) {
        let live: SortedMap<u32, u32> = self.memory.live().into_iter().collect();
        let mut pipes = SortedMap::new();
        let mut sockets = SortedMap::new();
        for argument in held {
            let Some((tag, number)) = argument.split_once('=') else { continue };
            if let (Ok(tag), Ok(number)) = (tag.parse::<u32>(), number.parse::<i32>())
                && let Ok(held) = sys::terminal::adopt(number)
                && let Some(read) = Self::take_socket(&mut sockets, tag, held)
            {
                self.next_tag = self.next_tag.max(tag + 1);
                pipes.insert(tag, read);
            }
        }
        self.restore_sockets(sockets);
        // The machine was being ended: before anything else is gone on with, as nothing may start any more.
        if let Some(how) = self.memory.ending().and_then(Shutdown::from_number) {
            self.events.push_back(super::Event::Shutdown { how });
        }
        let mut count = 0;
        let mut restored = Vec::with_capacity(self.graph.len() as usize);
        for index in 0..self.graph.len() {
            let [first, main, control, results, exit_status, since_low, since_high, tag] =
                self.memory.record(index);
            let phase = Phase::from_number(first & 0xff).unwrap_or_default();
            // A process that ended unseen still has its slot: its end is reported right after this.
            let is_timer = self.graph.unit(index).is_some_and(|unit| unit.kind() == UnitKind::Timer);
            let last = if is_timer { u64::from(main) | u64::from(control) << 32 } else { 0 };
            let (main, control) = if is_timer { (0, 0) } else { (main, control) };
            let owner = |role: Role| index | (role as u32) << 24;
            let started = |role: Role| live.iter().find(|(_, of)| **of == owner(role)).map(|(pid, _)| *pid);
            let (main, control) =
                (started(Role::Main).unwrap_or(main), started(Role::Control).unwrap_or(control));
            if let Some(state) = self.state.units.get_mut(index as usize) {
                state.phase = phase;
                state.main_pid = main;
                state.control_pid = control;
                state.outcome = Outcome::from_number(results & 0xff).unwrap_or_default();
                state.restarts = results >> 8;
                state.took = u64::from(exit_status >> TOOK_SHIFT) * 1000;
                state.since = u64::from(since_low) | u64::from(since_high) << 32;
                // What was never noted has not run.
                let exit_status = exit_status & ((1 << TOOK_SHIFT) - 1);
                state.exit_status = if state.since == 0 { formats::control::NO_EXIT } else { exit_status };
                state.held = first & HELD != 0;
                state.forbid_restart = first & FORBIDDEN != 0;
                state.populated = first & POPULATED != 0;
                state.command = (first >> COMMAND_SHIFT) as usize;
                count += u32::from(main != 0);
            }
            if let Some(read) = pipes.remove(&tag) {
                self.reopen_log(index, tag, read);
            }
            restored.push((index, phase, job_of(first), last));
        }
        // When every unit is known: a timer looks at what it starts.
        for (index, phase, job, last) in restored {
            self.take_up(index, phase, job, last);
        }
        // The old collector drains its pipes and ends when our predecessor's socket closes.
        self.start_collector();
        console::log(Level::Info, &format!("the supervisor is back; {count} services went on running"));
        self.take_ends();
    }

    fn reopen_log(&mut self, index: u32, tag: u32, read: std::os::fd::OwnedFd) {
        use std::os::fd::AsRawFd as _;
        let path = format!("/proc/self/fd/{}", read.as_raw_fd());
        if let Ok(write) = open(path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            self.logs.insert(index, LogPipe { read, write, tag });
        }
    }

    /// Goes on with a unit that was between two states, and watches what runs.
    fn take_up(&mut self, index: u32, before: Phase, job: Option<Job>, last: u64) {
        use formats::service_graph::key::{Key, flag, service_type};
        let Some(unit) = self.graph.unit(index) else { return };
        let Some(state) = self.state.units.get_mut(index as usize) else { return };
        let processes = (state.main_pid != 0, state.control_pid != 0);
        let GoingOn { phase, runs, request } = going_on(unit.kind(), before, job, processes);
        state.phase = phase;
        let since = state.since;
        if let Some(kind) = runs {
            state.job = Some(Job { kind, running: true });
            self.state.adopt_running_job();
        }
        match phase.active() {
            _ if phase == Phase::AutoRestart => {
                let pause = unit.number(Key::RestartSec).unwrap_or(100_000);
                self.state.set_deadline(index, since.saturating_add(pause));
            }
            ActiveState::Activating | ActiveState::Deactivating | ActiveState::Reloading => {
                self.state.set_deadline(index, super::now().saturating_add(90_000_000));
            }
            _ => {}
        }
        // Whether its program was executed went with our predecessor; a process that still runs now has been.
        if phase == Phase::Start && unit.number(Key::Type) == Some(service_type::EXEC) {
            self.events.push_back(super::Event::Executed { unit: index });
        }
        if let Some(kind) = request {
            self.events.push_back(super::Event::Request { unit: index, kind });
        }
        if phase.active() == ActiveState::Deactivating && !self.state.unit(index).populated {
            self.events.push_back(super::Event::CgroupEmpty { unit: index });
        }
        if phase == Phase::Running {
            let limit = |key, from: u64| {
                let span = unit.number(key).filter(|span| !matches!(*span, 0 | u64::MAX));
                span.map(|span| from.saturating_add(span))
            };
            let ends = [limit(Key::Watchdog, super::now()), limit(Key::RuntimeMax, since)];
            if let Some(at) = ends.into_iter().flatten().min() {
                self.state.set_deadline(index, at);
            }
        }
        match (phase, unit.kind()) {
            (Phase::Armed, UnitKind::Timer) => {
                let armed = self.state.unit(index).since;
                self.take_timer_over(&unit, armed, last);
                if unit.flag(flag::ON_TIMEZONE_CHANGE) {
                    self.watch_time_zone();
                }
            }
            // What it is stays as it was; what we need for it is set up anew.
            (Phase::Armed, _) => self.arm(index),
            _ => {}
        }
        if self.state.unit(index).populated {
            self.watch_again(&unit);
        }
    }

    fn watch_again(&mut self, unit: &formats::service_graph::view::Unit<'_>) {
        let path = super::cgroup::path_of(unit);
        let file = super::cgroup::events_file(&path);
        if let Ok(watch) = self.cgroups.add_watch(&file, nix::sys::inotify::AddWatchFlags::IN_MODIFY) {
            self.watched.insert(watch, unit.index());
        }
        if !super::cgroup::is_populated(&path) {
            self.events.push_back(super::Event::CgroupEmpty { unit: unit.index() });
        }
    }

    /// Lets go of a unit's log for good.
    pub(super) fn close_log(&mut self, index: u32) {
        if let Some(log) = self.logs.remove(&index) {
            crate::best_effort::tolerate(crate::channel::send_surely(
                self.channel.as_fd(),
                crate::channel::LET_GO,
                log.tag,
                None,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A supervisor dies between any two steps: what its successor makes of a unit. Phase, job, processes; phase, job that goes on, request.
    #[test]
    fn nothing_that_was_asked_for_is_forgotten() {
        use JobKind::{Reload, Restart, Start, Stop};
        type Row = (Phase, Option<(JobKind, bool)>, (bool, bool), Phase, Option<JobKind>, Option<JobKind>);
        let rows: [Row; 19] = [
            (Phase::Running, None, (true, false), Phase::Running, None, None),
            (Phase::Dead, None, (false, false), Phase::Dead, None, None),
            // It waits for others.
            (Phase::Dead, Some((Start, false)), (false, false), Phase::Dead, None, Some(Start)),
            (Phase::Running, Some((Stop, false)), (true, false), Phase::Running, None, Some(Stop)),
            (Phase::Running, Some((Restart, false)), (true, false), Phase::Running, None, Some(Restart)),
            // Between two processes.
            (Phase::Checking, Some((Start, true)), (false, false), Phase::Dead, None, Some(Start)),
            (Phase::Start, Some((Restart, true)), (false, false), Phase::Dead, None, Some(Start)),
            (Phase::StartPre, Some((Start, true)), (false, true), Phase::StartPre, Some(Start), None),
            (Phase::Start, Some((Start, true)), (true, false), Phase::Start, Some(Start), None),
            (Phase::StartPost, Some((Start, true)), (true, false), Phase::Running, None, Some(Start)),
            // The restart's second half is not forgotten.
            (
                Phase::StopSigterm,
                Some((Restart, true)),
                (true, false),
                Phase::StopSigterm,
                Some(Restart),
                None,
            ),
            (Phase::Stop, Some((Restart, true)), (true, false), Phase::Running, None, Some(Restart)),
            // It ends by itself: no job, so that Restart= counts.
            (Phase::StopPost, None, (false, true), Phase::StopPost, None, None),
            (Phase::StopPost, None, (false, false), Phase::StopSigterm, None, None),
            // Children are left in the cgroup.
            (Phase::StopSigterm, Some((Stop, true)), (false, false), Phase::StopSigterm, Some(Stop), None),
            (Phase::AutoRestart, None, (false, false), Phase::AutoRestart, None, None),
            (Phase::AutoRestart, Some((Stop, false)), (false, false), Phase::AutoRestart, None, Some(Stop)),
            (Phase::Reload, Some((Reload, true)), (true, true), Phase::Reload, Some(Reload), None),
            (Phase::Unmounting, Some((Stop, true)), (false, false), Phase::Mounted, None, Some(Stop)),
        ];
        for (phase, job, processes, expected, runs, request) in rows {
            let job = job.map(|(kind, running)| Job { kind, running });
            let first = phase as u32
                | job.map_or(0, |job| {
                    (job.kind as u32 + 1) << JOB_SHIFT | if job.running { JOB_RUNS } else { 0 }
                });
            assert_eq!(job_of(first), job);
            assert_eq!(first & 0xff, phase as u32);
            let found = going_on(UnitKind::Service, phase, job_of(first), processes);
            assert_eq!(found, GoingOn { phase: expected, runs, request }, "{phase:?} {job:?} {processes:?}");
        }
        let socket = going_on(UnitKind::Socket, Phase::Stop, None, (false, false));
        assert_eq!(socket.phase, Phase::Armed);
    }
}
