//! A service's phases (systemd.service(5), systemd.kill(5)): ExecCondition, ExecStartPre, ExecStart, ExecStartPost, running,
//! ExecReload, ExecStop, the signals, ExecStopPost, and what comes after an end.

use super::unit_state::{Job, JobKind, JobResult, Outcome, PENDING_PID, Phase};
use super::{Effect, Exit, Role, Scope, Step};
use formats::service_graph::key::{Key, command, flag, kill_mode, service_type};

const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;
const SIGABRT: u8 = 6;

/// The signals that end a daemon cleanly: HUP, INT, TERM, PIPE.
const CLEAN_SIGNALS: [u8; 4] = [1, 2, 15, 13];

/// The list of commands that a phase runs.
fn commands_of(phase: Phase) -> Option<Key> {
    Some(match phase {
        Phase::Condition => Key::ExecCondition,
        Phase::StartPre => Key::ExecStartPre,
        Phase::Start => Key::ExecStart,
        Phase::StartPost => Key::ExecStartPost,
        Phase::Reload => Key::ExecReload,
        Phase::Stop => Key::ExecStop,
        Phase::StopPost => Key::ExecStopPost,
        _ => return None,
    })
}

impl Step<'_, '_> {
    fn service_type(&self, unit: u32) -> u64 {
        self.unit(unit).and_then(|unit| unit.number(Key::Type)).unwrap_or(service_type::SIMPLE)
    }

    /// Enters a phase at one of its commands; past the last one, goes on to what follows.
    pub(crate) fn run_commands(&mut self, unit: u32, phase: Phase, number: usize) {
        let Some(key) = commands_of(phase) else { return };
        let exists = self.unit(unit).is_some_and(|unit| unit.command(key, number).is_some());
        if !exists {
            self.commands_done(unit, phase);
            return;
        }
        if self.get(unit).phase != phase {
            self.enter(unit, phase);
        }
        self.with(unit, |state| state.command = number);
        let deadline = match phase {
            Phase::Stop | Phase::StopPost => self.stop_timeout(unit),
            _ => self.start_timeout(unit),
        };
        self.set_deadline(unit, deadline);
        let role = match (phase, self.service_type(unit)) {
            (Phase::Start, service_type::FORKING) => Role::Control,
            (Phase::Start, _) => Role::Main,
            _ => Role::Control,
        };
        // Until the world says which process it is, it is one that is not known yet.
        self.with(unit, |state| {
            state.populated = true;
            match role {
                Role::Main => state.main_pid = PENDING_PID,
                Role::Control => state.control_pid = PENDING_PID,
            }
        });
        self.emit(Effect::Spawn { unit, key, number, role });
        let starts_at_once = matches!(self.service_type(unit), service_type::SIMPLE | service_type::IDLE);
        if phase == Phase::Start && self.service_type(unit) == service_type::DBUS {
            self.with(unit, |state| state.control_pid = PENDING_PID);
            self.emit(Effect::AwaitBusName { unit });
        }
        if phase == Phase::Start && starts_at_once {
            self.run_commands(unit, Phase::StartPost, 0);
        }
    }

    /// A phase's commands have all run.
    fn commands_done(&mut self, unit: u32, phase: Phase) {
        if self.is_socket(unit) {
            self.socket_commands_done(unit, phase);
            return;
        }
        match phase {
            Phase::Condition => self.run_commands(unit, Phase::StartPre, 0),
            Phase::StartPre => self.run_commands(unit, Phase::Start, 0),
            // Only oneshot comes here: all its commands have run, or it has none.
            Phase::Start => self.run_commands(unit, Phase::StartPost, 0),
            Phase::StartPost => self.is_up(unit),
            Phase::Reload => {
                self.set_deadline(unit, None);
                self.enter(unit, Phase::Running);
                self.arm_watchdog(unit);
                self.finish_reload(unit, JobResult::Done);
            }
            Phase::Stop => self.send_stop_signal(unit),
            Phase::StopPost => self.kill_the_rest(unit),
            _ => {}
        }
    }

    /// Everything that a start does has been done.
    fn is_up(&mut self, unit: u32) {
        self.set_deadline(unit, None);
        let state = self.get(unit);
        let is_oneshot = self.service_type(unit) == service_type::ONESHOT;
        if state.main_pid == 0 && (is_oneshot || !state.populated) {
            if self.remains(unit) {
                self.enter(unit, Phase::Exited);
                self.finish_start(unit);
            } else {
                // A oneshot that has run: its job is done when it is down again.
                self.service_begin_stop(unit);
            }
            return;
        }
        self.enter(unit, Phase::Running);
        self.arm_watchdog(unit);
        self.finish_start(unit);
    }

    /// The start that is under way is done; one that still waits for others sees for itself when its turn comes.
    pub(crate) fn finish_start(&mut self, unit: u32) {
        if self.get(unit).job.is_some_and(|job| job.kind == JobKind::Start && job.running) {
            self.finish_job(unit, JobResult::Done);
        }
    }

    fn finish_reload(&mut self, unit: u32, result: JobResult) {
        if self.get(unit).job.is_some_and(|job| job.kind == JobKind::Reload && job.running) {
            self.finish_job(unit, result);
        }
    }

    /// RuntimeMaxSec= and WatchdogSec=, whichever comes first.
    fn arm_watchdog(&mut self, unit: u32) {
        let Some(definition) = self.unit(unit) else { return };
        let span =
            [Key::Watchdog, Key::RuntimeMax].into_iter().filter_map(|key| definition.number(key)).min();
        let span = span.filter(|span| *span != 0 && *span != u64::MAX);
        self.set_deadline(unit, span.map(|span| self.now.saturating_add(span)));
    }

    /// WATCHDOG=1.
    pub(crate) fn feed_watchdog(&mut self, unit: u32) {
        if self.get(unit).phase == Phase::Running && self.get(unit).deadline.is_some() {
            self.arm_watchdog(unit);
        }
    }

    /// The program of a Type=exec service is executed.
    pub(crate) fn service_executed(&mut self, unit: u32) {
        if self.get(unit).phase == Phase::Start && self.service_type(unit) == service_type::EXEC {
            self.run_commands(unit, Phase::StartPost, 0);
        }
    }

    /// READY=1.
    pub(crate) fn service_ready(&mut self, unit: u32) {
        let notifies = matches!(self.service_type(unit), service_type::NOTIFY | service_type::NOTIFY_RELOAD);
        match self.get(unit).phase {
            Phase::Start if notifies => self.run_commands(unit, Phase::StartPost, 0),
            Phase::Reload if self.get(unit).control_pid == 0 => self.commands_done(unit, Phase::Reload),
            _ => {}
        }
    }

    /// The main process of a forking service, or the one that a service names itself (MAINPID=).
    pub(crate) fn main_pid_known(&mut self, unit: u32, pid: u32) {
        self.with(unit, |state| state.main_pid = pid);
        if self.get(unit).phase == Phase::Start && self.service_type(unit) == service_type::FORKING {
            let needs_pid_file = self.unit(unit).is_some_and(|unit| unit.has(Key::PidFile));
            if pid == 0 && needs_pid_file {
                self.fail(unit, Outcome::Protocol);
            } else {
                self.run_commands(unit, Phase::StartPost, 0);
            }
        }
    }

    /// Whether a command of that number says that its failure does not matter.
    fn failure_is_ignored(&self, unit: u32, key: Key, number: usize) -> bool {
        let line = self.unit(unit).and_then(|unit| unit.command(key, number));
        line.is_some_and(|line| line.flags() & command::IGNORE_FAILURE != 0)
    }

    /// What an exit means.
    fn outcome_of(&self, unit: u32, role: Role, exit: Exit) -> Outcome {
        let Some(definition) = self.unit(unit) else { return Outcome::Success };
        let is_listed =
            definition.numbers(Key::SuccessExitStatus).any(|status| status == u64::from(exit.number()));
        let is_daemon = role == Role::Main && self.service_type(unit) != service_type::ONESHOT;
        match exit {
            _ if is_listed => Outcome::Success,
            Exit::Code(0) => Outcome::Success,
            Exit::Code(_) => Outcome::ExitCode,
            Exit::Signal(signal) if is_daemon && CLEAN_SIGNALS.contains(&signal) => Outcome::Success,
            Exit::Signal(_) => Outcome::Signal,
            Exit::Core(_) => Outcome::CoreDump,
        }
    }

    /// There was no process: what a start needs is not there (systemd's result `resources`), and what a stop runs is passed over.
    pub(crate) fn spawn_failed(&mut self, unit: u32, role: Role) {
        if matches!(
            self.get(unit).phase,
            Phase::Condition | Phase::StartPre | Phase::Start | Phase::StartPost
        ) {
            self.with(unit, |state| match role {
                Role::Main => state.main_pid = 0,
                Role::Control => state.control_pid = 0,
            });
            self.fail(unit, Outcome::Resources);
        } else {
            self.service_exited(unit, role, Exit::Code(203));
        }
    }

    /// A process has ended.
    pub(crate) fn service_exited(&mut self, unit: u32, role: Role, exit: Exit) {
        let outcome = self.outcome_of(unit, role, exit);
        match role {
            Role::Main => self.main_exited(unit, exit, outcome),
            Role::Control => self.control_exited(unit, exit, outcome),
        }
    }

    fn main_exited(&mut self, unit: u32, exit: Exit, outcome: Outcome) {
        self.with(unit, |state| {
            state.main_pid = 0;
            state.exit_status = exit.status();
        });
        let number = self.get(unit).command;
        let ignored = self.failure_is_ignored(unit, Key::ExecStart, number);
        let outcome = if ignored { Outcome::Success } else { outcome };
        if outcome != Outcome::Success {
            self.note(unit, outcome);
        }
        match self.get(unit).phase {
            Phase::Start if self.service_type(unit) == service_type::ONESHOT => {
                if outcome == Outcome::Success {
                    self.run_commands(unit, Phase::Start, number + 1);
                } else {
                    self.fail(unit, outcome);
                }
            }
            // A notify service that ends before it is ready.
            Phase::Start => {
                self.fail(unit, if outcome == Outcome::Success { Outcome::Protocol } else { outcome });
            }
            Phase::Running | Phase::Reload => {
                self.finish_reload(unit, JobResult::Failed);
                self.main_is_gone(unit, outcome);
            }
            Phase::StopSigterm | Phase::StopSigkill => self.check_stopped(unit),
            // Where ExecStartPost= is still running, its end decides.
            _ => {}
        }
        self.emit(Effect::Changed { unit });
    }

    /// A running service without a main process: it remains, or it goes the way down.
    fn main_is_gone(&mut self, unit: u32, outcome: Outcome) {
        if outcome == Outcome::Success && self.remains(unit) {
            self.set_deadline(unit, None);
            self.enter(unit, Phase::Exited);
            self.finish_start(unit);
        } else if outcome == Outcome::Success {
            self.service_begin_stop(unit);
        } else {
            self.fail(unit, outcome);
        }
    }

    fn control_exited(&mut self, unit: u32, exit: Exit, outcome: Outcome) {
        self.with(unit, |state| state.control_pid = 0);
        let (phase, number) = (self.get(unit).phase, self.get(unit).command);
        let Some(key) = commands_of(phase) else {
            self.check_stopped(unit);
            return;
        };
        let worked = outcome == Outcome::Success || self.failure_is_ignored(unit, key, number);
        match (phase, worked) {
            (Phase::Condition, false) if matches!(exit, Exit::Code(1..=254)) => {
                self.with(unit, |state| state.outcome = Outcome::Condition);
                self.run_commands(unit, Phase::StopPost, 0);
            }
            // The bus has its name.
            (Phase::Start, true) if self.service_type(unit) == service_type::DBUS => {
                self.run_commands(unit, Phase::StartPost, 0);
            }
            (Phase::Start, true) => {
                // The forking service's first process has ended well.
                self.emit(Effect::FindMainPid { unit });
            }
            (_, true) => self.run_commands(unit, phase, number + 1),
            (Phase::StartPre | Phase::StartPost, false) if self.is_socket(unit) => {
                self.socket_start_failed(unit, outcome);
            }
            (Phase::Reload, false) => {
                self.set_deadline(unit, None);
                self.enter(unit, Phase::Running);
                self.finish_reload(unit, JobResult::Failed);
            }
            (Phase::Stop, false) => {
                self.note(unit, outcome);
                self.send_stop_signal(unit);
            }
            (Phase::StopPost, false) => {
                self.note(unit, outcome);
                self.kill_the_rest(unit);
            }
            (_, false) => self.fail(unit, outcome),
        }
    }

    /// Keeps the first thing that went wrong.
    pub(crate) fn note(&mut self, unit: u32, outcome: Outcome) {
        self.with(unit, |state| {
            if state.outcome == Outcome::Success {
                state.outcome = outcome;
            }
        });
    }

    /// A start that does not succeed: whatever runs is stopped, ExecStop= is not run.
    pub(crate) fn fail(&mut self, unit: u32, outcome: Outcome) {
        self.note(unit, outcome);
        self.send_stop_signal(unit);
    }

    /// The way down, from wherever the service is.
    pub(crate) fn service_begin_stop(&mut self, unit: u32) {
        match self.get(unit).phase {
            Phase::Running | Phase::Exited | Phase::StartPost | Phase::Reload => {
                self.with(unit, |state| state.command = 0);
                self.run_commands(unit, Phase::Stop, 0);
            }
            Phase::AutoRestart => self.down(unit, Phase::Dead),
            phase
                if phase == Phase::Start
                    && self.get(unit).main_pid == 0
                    && self.get(unit).control_pid == 0 =>
            {
                self.run_commands(unit, Phase::Stop, 0);
            }
            _ => self.send_stop_signal(unit),
        }
    }

    /// KillSignal= to whom KillMode= says.
    pub(crate) fn send_stop_signal(&mut self, unit: u32) {
        let Some(definition) = self.unit(unit) else { return };
        let mode = definition.number(Key::KillMode).unwrap_or(kill_mode::CONTROL_GROUP);
        let is_restart = self.get(unit).job.is_some_and(|job| job.kind == JobKind::Restart);
        let key = if is_restart && definition.has(Key::RestartKillSignal) {
            Key::RestartKillSignal
        } else {
            Key::KillSignal
        };
        let signal = definition.number(key).unwrap_or(u64::from(SIGTERM)) as u8;
        let timeout = self.stop_timeout(unit);
        self.enter(unit, Phase::StopSigterm);
        self.set_deadline(unit, timeout);
        let state = self.get(unit);
        let nobody = state.main_pid == 0 && state.control_pid == 0;
        let scope = match mode {
            kill_mode::NONE => None,
            // A main process may have left the cgroup (a session does); it is still the service's.
            kill_mode::CONTROL_GROUP => Some(Scope::All).filter(|_| state.populated || !nobody),
            _ => Some(Scope::Known).filter(|_| !nobody),
        };
        if let Some(scope) = scope {
            self.emit(Effect::Signal { unit, signal, scope });
            if definition.flag(flag::SEND_SIGHUP) {
                self.emit(Effect::Signal { unit, signal: 1, scope });
            }
        }
        self.check_stopped(unit);
    }

    /// FinalKillSignal=.
    fn final_signal(&self, unit: u32) -> u8 {
        let signal = self.unit(unit).and_then(|unit| unit.number(Key::FinalKillSignal));
        signal.map_or(SIGKILL, |signal| signal as u8)
    }

    /// Whether all that had to end has ended, and what comes then.
    fn check_stopped(&mut self, unit: u32) {
        let state = self.get(unit);
        let mode =
            self.unit(unit).and_then(|unit| unit.number(Key::KillMode)).unwrap_or(kill_mode::CONTROL_GROUP);
        let nobody = state.main_pid == 0 && state.control_pid == 0;
        match (state.phase, mode) {
            (Phase::StopSigterm | Phase::StopSigkill, kill_mode::NONE) => {
                self.run_commands(unit, Phase::StopPost, 0);
            }
            (Phase::StopSigterm | Phase::StopSigkill, kill_mode::PROCESS) if nobody => {
                self.run_commands(unit, Phase::StopPost, 0);
            }
            // The main process has ended: the others are killed without a word.
            (Phase::StopSigterm, kill_mode::MIXED) if nobody && state.populated => {
                self.enter(unit, Phase::StopSigkill);
                self.emit(Effect::Signal { unit, signal: SIGKILL, scope: Scope::All });
            }
            (Phase::StopSigterm | Phase::StopSigkill, _) if nobody && !state.populated => {
                self.run_commands(unit, Phase::StopPost, 0);
            }
            (Phase::FinalSigkill, _) if !state.populated => self.ended(unit),
            _ => {}
        }
    }

    /// After ExecStopPost=: nothing of the service may be left, unless it asked for that.
    pub(crate) fn kill_the_rest(&mut self, unit: u32) {
        let mode =
            self.unit(unit).and_then(|unit| unit.number(Key::KillMode)).unwrap_or(kill_mode::CONTROL_GROUP);
        if !self.get(unit).populated || matches!(mode, kill_mode::PROCESS | kill_mode::NONE) {
            self.ended(unit);
            return;
        }
        self.enter(unit, Phase::FinalSigkill);
        self.set_deadline(unit, Some(self.now.saturating_add(5_000_000)));
        self.emit(Effect::Signal { unit, signal: SIGKILL, scope: Scope::All });
    }

    /// The last process is gone.
    pub(crate) fn cgroup_empty(&mut self, unit: u32) {
        // A process that was just started, or whose exit is still to be reported, is not gone.
        if self.get(unit).main_pid != 0 || self.get(unit).control_pid != 0 {
            self.with(unit, |state| state.populated = false);
            return;
        }
        self.with(unit, |state| state.populated = false);
        match self.get(unit).phase {
            Phase::Running => {
                let outcome = self.get(unit).outcome;
                self.main_is_gone(unit, outcome);
            }
            _ => self.check_stopped(unit),
        }
    }

    /// A service's time is up.
    pub(crate) fn service_deadline(&mut self, unit: u32) {
        match self.get(unit).phase {
            Phase::StartPre if self.is_socket(unit) => self.socket_start_failed(unit, Outcome::Timeout),
            Phase::Condition | Phase::StartPre | Phase::Start | Phase::StartPost => {
                self.fail(unit, Outcome::Timeout);
            }
            Phase::Running => {
                let has_watchdog = self
                    .unit(unit)
                    .is_some_and(|unit| unit.number(Key::Watchdog).is_some_and(|span| span != 0));
                self.note(unit, if has_watchdog { Outcome::Watchdog } else { Outcome::Timeout });
                if has_watchdog {
                    let signal = self.unit(unit).and_then(|unit| unit.number(Key::WatchdogSignal));
                    let signal = signal.unwrap_or(u64::from(SIGABRT)) as u8;
                    self.emit(Effect::Signal { unit, signal, scope: Scope::Main });
                }
                self.send_stop_signal(unit);
            }
            Phase::Reload => {
                self.emit(Effect::Signal { unit, signal: SIGKILL, scope: Scope::Control });
                self.enter(unit, Phase::Running);
                self.finish_reload(unit, JobResult::Failed);
            }
            Phase::Stop => {
                self.note(unit, Outcome::Timeout);
                self.send_stop_signal(unit);
            }
            Phase::StopSigterm => {
                self.note(unit, Outcome::Timeout);
                if self.flag(unit, flag::NO_SIGKILL) {
                    self.run_commands(unit, Phase::StopPost, 0);
                    return;
                }
                let stop = self.stop_timeout(unit);
                let signal = self.final_signal(unit);
                self.enter(unit, Phase::StopSigkill);
                self.set_deadline(unit, stop);
                self.emit(Effect::Signal { unit, signal, scope: Scope::All });
            }
            // Not even SIGKILL helps: the process hangs in the kernel. Go on without it.
            Phase::StopSigkill => self.run_commands(unit, Phase::StopPost, 0),
            Phase::StopPost => {
                self.note(unit, Outcome::Timeout);
                self.kill_the_rest(unit);
            }
            Phase::FinalSigkill => self.ended(unit),
            Phase::AutoRestart => {
                if self.get(unit).job.is_some_and(|job| job.kind == JobKind::Stop) {
                    return;
                }
                self.with(unit, |state| state.restarts += 1);
                if self.flag(unit, flag::RESTART_DIRECT) {
                    self.start_directly(unit);
                    return;
                }
                // Not only itself: what depends on it is restarted too.
                self.request(unit, JobKind::Restart);
                // A start that was already waiting here is no restart: it would wait for ever.
                if self.get(unit).job.is_none_or(|job| job.kind != JobKind::Restart) {
                    self.note(unit, Outcome::Resources);
                    self.down(unit, Phase::Failed);
                }
            }
            _ => {}
        }
    }

    /// The service is down: for good, or until it is started again.
    fn ended(&mut self, unit: u32) {
        if self.is_socket(unit) {
            self.emit(Effect::Disarm { unit });
        }
        let outcome = self.get(unit).outcome;
        let is_condition = outcome == Outcome::Condition;
        if !is_condition && self.restarts_after(unit, outcome) {
            let delay = self.restart_delay(unit);
            self.with(unit, |state| {
                state.main_pid = 0;
                state.control_pid = 0;
            });
            let restart_job = self.get(unit).job.is_some_and(|job| job.kind == JobKind::Restart);
            if restart_job {
                self.enter(unit, Phase::Dead);
                self.reached_down(unit);
                return;
            }
            self.enter(unit, Phase::AutoRestart);
            self.set_deadline(unit, Some(self.now.saturating_add(delay)));
            // With RestartMode=direct whoever waits for the start goes on waiting.
            let is_direct = self.flag(unit, flag::RESTART_DIRECT);
            if !is_direct && self.get(unit).job.is_some_and(|job| job.kind == JobKind::Start && job.running) {
                let result = if outcome == Outcome::Success { JobResult::Done } else { JobResult::Failed };
                self.finish_job(unit, result);
            }
            return;
        }
        let is_fine = outcome == Outcome::Success || is_condition;
        self.down(unit, if is_fine { Phase::Dead } else { Phase::Failed });
    }

    /// RestartMode=direct: from the pause to the next start, without being down for anybody in between.
    fn start_directly(&mut self, unit: u32) {
        self.with(unit, |state| state.phase = Phase::Dead);
        if self.get(unit).job.is_none_or(|job| job.kind != JobKind::Start) {
            self.request(unit, JobKind::Start);
            return;
        }
        if self.get(unit).job.is_some_and(|job| job.running) {
            self.state.running_jobs = self.state.running_jobs.saturating_sub(1);
        }
        self.with(unit, |state| state.job = Some(Job { kind: JobKind::Start, running: false }));
        self.state.jobs_changed.insert(unit);
        self.state.queue.insert(unit);
    }

    /// RestartSec=, growing to RestartMaxDelaySec= in RestartSteps= steps.
    fn restart_delay(&self, unit: u32) -> u64 {
        let Some(definition) = self.unit(unit) else { return 0 };
        let base = definition.number(Key::RestartSec).unwrap_or(100_000);
        let steps = definition.number(Key::RestartSteps).unwrap_or(0);
        let most = definition.number(Key::RestartMaxDelay).unwrap_or(u64::MAX);
        if steps == 0 || most == u64::MAX || most <= base || base == 0 {
            return base;
        }
        let done = u64::from(self.get(unit).restarts).min(steps);
        let ratio = most as f64 / base as f64;
        (base as f64 * ratio.powf(done as f64 / steps as f64)) as u64
    }
}
