//! Where each unit stands, as numbers in the shared memory: written at every change, read by a successor.

use super::engine::Role;
use super::engine::unit_state::{Job, JobKind, Outcome, PENDING_PID, Phase};
use super::{LogPipe, Supervisor};
use crate::console::{self, Level};
use crate::sorted_map::SortedMap;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::AsFd as _;

/// Flags in the record's first word, above the phase.
const HELD: u32 = 1 << 8;
const POPULATED: u32 = 1 << 9;
/// How many milliseconds the last start took, above the exit status.
const TOOK_SHIFT: u32 = 11;
/// Which command of the phase runs, in the upper half.
const COMMAND_SHIFT: u32 = 16;

impl Supervisor {
    /// Writes a unit's record.
    pub(super) fn note(&self, index: u32) {
        let state = self.state.unit(index);
        let pid = |pid: u32| if pid == PENDING_PID { 0 } else { pid };
        let mut first = state.phase as u32;
        if state.held {
            first |= HELD;
        }
        if state.populated {
            first |= POPULATED;
        }
        first |= (state.command.min(usize::from(u16::MAX)) as u32) << COMMAND_SHIFT;
        let tag = self.logs.get(&index).map_or(0, |log| log.tag);
        let took = u32::try_from(state.took.div_ceil(1000)).unwrap_or(u32::MAX).min(u32::MAX >> TOOK_SHIFT);
        let record = [
            first,
            pid(state.main_pid),
            pid(state.control_pid),
            state.outcome as u32 | state.restarts << 8,
            state.exit_status | took << TOOK_SHIFT,
            state.since as u32,
            (state.since >> 32) as u32,
            tag,
        ];
        self.memory.set_record(index, &record);
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
        let mut count = 0;
        for index in 0..self.graph.len() {
            let [first, main, control, results, exit_status, since_low, since_high, tag] =
                self.memory.record(index);
            let phase = Phase::from_number(first & 0xff).unwrap_or_default();
            // A process that ended unseen still has its slot: its end is reported right after this.
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
                state.populated = first & POPULATED != 0;
                state.command = (first >> COMMAND_SHIFT) as usize;
                count += u32::from(main != 0);
            }
            if let Some(read) = pipes.remove(&tag) {
                self.reopen_log(index, tag, read);
            }
            self.take_up(index, phase);
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
    fn take_up(&mut self, index: u32, phase: Phase) {
        use formats::control::ActiveState;
        use formats::service_graph::key::Key;
        let Some(unit) = self.graph.unit(index) else { return };
        let kind = match phase.active() {
            ActiveState::Activating => Some(JobKind::Start),
            ActiveState::Deactivating => Some(JobKind::Stop),
            _ => None,
        };
        if let (Some(kind), Some(state)) = (kind, self.state.units.get_mut(index as usize)) {
            // What was between two steps without a process begins again; what has one is waited for.
            if state.main_pid == 0 && state.control_pid == 0 {
                state.phase = Phase::Dead;
                self.events.push_back(super::Event::Request { unit: index, kind });
            } else {
                state.job = Some(Job { kind, running: true });
                self.state.adopt_running_job();
                let at = super::now().saturating_add(90_000_000);
                self.state.set_deadline(index, at);
                // Whether its program was executed went with our predecessor; a process that still runs now has been.
                let kind = unit.number(Key::Type);
                if phase == Phase::Start && kind == Some(formats::service_graph::key::service_type::EXEC) {
                    self.events.push_back(super::Event::Executed { unit: index });
                }
            }
        }
        if phase == Phase::Running {
            let limit = |key, from: u64| {
                let span = unit.number(key).filter(|span| !matches!(*span, 0 | u64::MAX));
                span.map(|span| from.saturating_add(span))
            };
            let since = self.state.unit(index).since;
            let ends = [limit(Key::Watchdog, super::now()), limit(Key::RuntimeMax, since)];
            if let Some(at) = ends.into_iter().flatten().min() {
                self.state.set_deadline(index, at);
            }
        }
        if matches!(phase, Phase::Armed | Phase::Arming)
            && let Some(state) = self.state.units.get_mut(index as usize)
        {
            // Sockets and timers are set up anew.
            state.phase = Phase::Dead;
            self.events.push_back(super::Event::Request { unit: index, kind: JobKind::Start });
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
            crate::best_effort::tolerate(crate::channel::send(
                self.channel.as_fd(),
                crate::channel::LET_GO,
                log.tag,
                None,
            ));
        }
    }
}
