//! What the supervisor knows of one unit.

use formats::control::ActiveState;
use formats::service_graph::UnitKind;

/// A process that was asked for and whose id is not known yet.
pub const PENDING_PID: u32 = u32::MAX;

/// Where a unit stands. The words are systemd's sub-states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Phase {
    /// Down.
    #[default]
    Dead = 0,
    /// Down after a failure.
    Failed = 1,
    /// Conditions are being looked at.
    Checking = 2,
    /// ExecCondition= runs.
    Condition = 3,
    /// ExecStartPre= runs.
    StartPre = 4,
    /// ExecStart= runs and the service is not up yet.
    Start = 5,
    /// ExecStartPost= runs.
    StartPost = 6,
    /// Up, with a process.
    Running = 7,
    /// Up, its processes have ended.
    Exited = 8,
    /// ExecReload= runs, or the service says that it reloads.
    Reload = 9,
    /// ExecStop= runs.
    Stop = 10,
    /// The stop signal was sent.
    StopSigterm = 11,
    /// SIGKILL was sent.
    StopSigkill = 12,
    /// ExecStopPost= runs.
    StopPost = 13,
    /// What was left was killed.
    FinalSigkill = 14,
    /// Waiting to be started again.
    AutoRestart = 15,
    /// A target is reached, a slice is there.
    Active = 16,
    /// A file system is being mounted.
    Mounting = 17,
    /// It is mounted.
    Mounted = 18,
    /// It is being unmounted.
    Unmounting = 19,
    /// A socket, timer or path is being set up.
    Arming = 20,
    /// It is.
    Armed = 21,
}

const PHASES: [(Phase, ActiveState, &str); 22] = [
    (Phase::Dead, ActiveState::Inactive, "dead"),
    (Phase::Failed, ActiveState::Failed, "failed"),
    (Phase::Checking, ActiveState::Activating, "checking"),
    (Phase::Condition, ActiveState::Activating, "condition"),
    (Phase::StartPre, ActiveState::Activating, "start-pre"),
    (Phase::Start, ActiveState::Activating, "start"),
    (Phase::StartPost, ActiveState::Activating, "start-post"),
    (Phase::Running, ActiveState::Active, "running"),
    (Phase::Exited, ActiveState::Active, "exited"),
    (Phase::Reload, ActiveState::Reloading, "reload"),
    (Phase::Stop, ActiveState::Deactivating, "stop"),
    (Phase::StopSigterm, ActiveState::Deactivating, "stop-sigterm"),
    (Phase::StopSigkill, ActiveState::Deactivating, "stop-sigkill"),
    (Phase::StopPost, ActiveState::Deactivating, "stop-post"),
    (Phase::FinalSigkill, ActiveState::Deactivating, "final-sigkill"),
    (Phase::AutoRestart, ActiveState::Activating, "auto-restart"),
    (Phase::Active, ActiveState::Active, "active"),
    (Phase::Mounting, ActiveState::Activating, "mounting"),
    (Phase::Mounted, ActiveState::Active, "mounted"),
    (Phase::Unmounting, ActiveState::Deactivating, "unmounting"),
    (Phase::Arming, ActiveState::Activating, "start-pre"),
    (Phase::Armed, ActiveState::Active, "waiting"),
];

impl Phase {
    /// systemd's active state.
    pub fn active(self) -> ActiveState {
        PHASES
            .iter()
            .find(|(phase, ..)| *phase == self)
            .map_or(ActiveState::Inactive, |(_, active, _)| *active)
    }

    /// systemd's sub-state.
    pub fn word(self, kind: UnitKind) -> &'static str {
        match (self, kind) {
            (Self::Armed, UnitKind::Socket) => "listening",
            _ => PHASES.iter().find(|(phase, ..)| *phase == self).map_or("", |(.., word)| word),
        }
    }

    /// The phase of that number.
    pub fn from_number(number: u32) -> Option<Self> {
        PHASES.iter().map(|(phase, ..)| *phase).find(|phase| *phase as u32 == number)
    }
}

/// How the last run went. The words are systemd's results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Outcome {
    /// Well.
    #[default]
    Success = 0,
    /// With an exit code that is no success.
    ExitCode = 1,
    /// By a signal.
    Signal = 2,
    /// By a signal that dumps core.
    CoreDump = 3,
    /// Too slowly.
    Timeout = 4,
    /// Without a sign of life.
    Watchdog = 5,
    /// Started too often.
    StartLimit = 6,
    /// Not by the rules of its type: no READY=1, no main process.
    Protocol = 7,
    /// What it needs could not be set up.
    Resources = 8,
    /// ExecCondition= said no.
    Condition = 9,
    /// Triggered too often.
    TriggerLimit = 10,
    /// Killed by the kernel for want of memory.
    OomKill = 11,
}

const OUTCOMES: [(Outcome, &str); 12] = [
    (Outcome::Success, "success"),
    (Outcome::ExitCode, "exit-code"),
    (Outcome::Signal, "signal"),
    (Outcome::CoreDump, "core-dump"),
    (Outcome::Timeout, "timeout"),
    (Outcome::Watchdog, "watchdog"),
    (Outcome::StartLimit, "start-limit-hit"),
    (Outcome::Protocol, "protocol"),
    (Outcome::Resources, "resources"),
    (Outcome::Condition, "exec-condition"),
    (Outcome::TriggerLimit, "trigger-limit-hit"),
    (Outcome::OomKill, "oom-kill"),
];

impl Outcome {
    /// systemd's word.
    pub fn word(self) -> &'static str {
        OUTCOMES.iter().find(|(outcome, _)| *outcome == self).map_or("", |(_, word)| word)
    }

    /// Whether a unit that came down with it has failed.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Success | Self::Condition)
    }

    /// The outcome of that number.
    pub fn from_number(number: u32) -> Option<Self> {
        OUTCOMES.iter().map(|(outcome, _)| *outcome).find(|outcome| *outcome as u32 == number)
    }
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobKind {
    /// Bring it up.
    Start,
    /// Bring it down.
    Stop,
    /// Down, then up.
    Restart,
    /// Down and up if it is up.
    TryRestart,
    /// Read its configuration again.
    Reload,
}

/// How a job ended. The words are systemd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobResult {
    /// Done.
    Done,
    /// The unit failed.
    Failed,
    /// A unit that it needs failed.
    Dependency,
    /// Another job took its place.
    Canceled,
    /// A condition was not met.
    Skipped,
    /// The request makes no sense in the unit's state.
    Refused,
    /// It took longer than JobTimeoutSec= or JobRunningTimeoutSec= allow.
    Timeout,
}

impl JobResult {
    /// systemd's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Dependency => "dependency",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
        }
    }
}

/// A job of a unit; a unit has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// What it does.
    pub kind: JobKind,
    /// Whether it is under way.
    pub running: bool,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct UnitState {
    /// Where it stands.
    pub phase: Phase,
    /// Its job.
    pub job: Option<Job>,
    /// When patience with the job is over, whatever the unit does.
    pub job_deadline: Option<u64>,
    /// The main process, 0 for none.
    pub main_pid: u32,
    /// The control process, 0 for none.
    pub control_pid: u32,
    /// Whether its cgroup holds a process.
    pub populated: bool,
    /// Which command of the present list runs.
    pub command: usize,
    /// Since when it is in its phase, microseconds of CLOCK_BOOTTIME.
    pub since: u64,
    /// When its last start began, and how long that took; 0 when it was never up.
    pub begun: u64,
    /// See [`UnitState::begun`].
    pub took: u64,
    /// When the present phase is over at the latest.
    pub deadline: Option<u64>,
    /// How the last run went, or is going.
    pub outcome: Outcome,
    /// Exit status of the last main process, as `formats::control::UnitStatus` has it.
    pub exit_status: u32,
    /// How often it came back by itself.
    pub restarts: u32,
    /// When it was started, as far back as the rate limit looks.
    pub starts: Vec<u64>,
    /// An administrator stopped it: a target does not bring it back at a switch.
    pub held: bool,
    /// Its end is wanted: no restart.
    pub forbid_restart: bool,
    /// It had failed before its conditions were looked at.
    pub had_failed: bool,
    /// It came down because it was started too often.
    pub limit_hit: bool,
    /// How often it was started because of another unit's end.
    pub pulled: u32,
    /// The beginning of that count.
    pub pulled_since: u64,
}

impl Default for UnitState {
    fn default() -> Self {
        Self::DOWN
    }
}

impl UnitState {
    /// A unit that is down.
    pub const DOWN: Self = Self {
        phase: Phase::Dead,
        job: None,
        job_deadline: None,
        main_pid: 0,
        control_pid: 0,
        populated: false,
        command: 0,
        since: 0,
        begun: 0,
        took: 0,
        deadline: None,
        outcome: Outcome::Success,
        exit_status: formats::control::NO_EXIT,
        restarts: 0,
        starts: Vec::new(),
        held: false,
        forbid_restart: false,
        had_failed: false,
        limit_hit: false,
        pulled: 0,
        pulled_since: 0,
    };

    /// Nothing of it runs and nothing will by itself.
    pub fn is_down(&self) -> bool {
        matches!(self.phase, Phase::Dead | Phase::Failed)
    }

    /// It is up.
    pub fn is_up(&self) -> bool {
        matches!(self.phase.active(), ActiveState::Active | ActiveState::Reloading)
    }

    /// It is on its way down.
    pub fn is_stopping(&self) -> bool {
        self.phase.active() == ActiveState::Deactivating
    }
}
