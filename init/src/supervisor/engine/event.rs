//! What the engine is told and what it answers: events of the machine, effects on it.

use super::unit_state::{JobKind, JobResult};
use formats::control::Shutdown;
use formats::service_graph::key::Key;

/// Which process of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// The service itself.
    Main = 1,
    /// A command beside it.
    Control = 2,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with that code.
    Code(u8),
    /// By a signal.
    Signal(u8),
    /// By a signal that dumped core.
    Core(u8),
}

impl Exit {
    /// As exit statuses stand in the graph: signals as 256 + number.
    pub fn number(self) -> u32 {
        match self {
            Self::Code(code) => u32::from(code),
            Self::Signal(signal) | Self::Core(signal) => 256 + u32::from(signal),
        }
    }

    /// As clients are told.
    pub(crate) fn status(self) -> u32 {
        self.number() | if matches!(self, Self::Core(_)) { formats::control::CORE_DUMPED } else { 0 }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody asks for a unit to be started, stopped, ….
    Request {
        /// The unit.
        unit: u32,
        /// What is asked.
        kind: JobKind,
    },
    /// The answer to [`Effect::CheckConditions`].
    Conditions {
        /// The unit.
        unit: u32,
        /// `Some(true)` go on, `Some(false)` skip, `None` an assertion failed.
        verdict: Option<bool>,
    },
    /// A process was started for [`Effect::Spawn`] (or a mount began).
    Spawned {
        /// The unit.
        unit: u32,
        /// Which process.
        role: Role,
        /// Its id.
        pid: u32,
    },
    /// It could not be started.
    SpawnFailed {
        /// The unit.
        unit: u32,
        /// Which process.
        role: Role,
    },
    /// The kernel killed a process of the unit for want of memory; its end is reported next.
    OutOfMemory {
        /// The unit.
        unit: u32,
    },
    /// A process ended.
    Exited {
        /// The unit.
        unit: u32,
        /// Which process.
        role: Role,
        /// How.
        exit: Exit,
    },
    /// The last process of the unit's cgroup is gone.
    CgroupEmpty {
        /// The unit.
        unit: u32,
    },
    /// The main process as the PID file or the service itself names it; 0 when there is none to be found.
    MainPid {
        /// The unit.
        unit: u32,
        /// Its id.
        pid: u32,
    },
    /// READY=1.
    Ready {
        /// The unit.
        unit: u32,
    },
    /// RELOADING=1.
    Reloading {
        /// The unit.
        unit: u32,
    },
    /// STOPPING=1.
    Stopping {
        /// The unit.
        unit: u32,
    },
    /// WATCHDOG=1.
    Alive {
        /// The unit.
        unit: u32,
    },
    /// EXTEND_TIMEOUT_USEC=.
    Extend {
        /// The unit.
        unit: u32,
        /// Microseconds from now.
        span: u64,
    },
    /// A socket, timer or path was set up, or could not be.
    Armed {
        /// The unit.
        unit: u32,
        /// Whether it was.
        worked: bool,
    },
    /// A socket, timer or path fired: start what it triggers.
    Fired {
        /// The unit.
        unit: u32,
    },
    /// The program of a Type=exec service is executed.
    Executed {
        /// The unit.
        unit: u32,
    },
    /// A socket, timer or path fired more often than its limit allows.
    TriggeredTooOften {
        /// The unit.
        unit: u32,
    },
    /// Forget failures and rate limits.
    ResetFailed {
        /// The unit.
        unit: u32,
    },
    /// End the machine.
    Shutdown {
        /// How.
        how: Shutdown,
    },
    /// Nothing but the time.
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Find out whether conditions and assertions hold; answer with [`Event::Conditions`].
    CheckConditions {
        /// The unit.
        unit: u32,
    },
    /// Start command `number` of `key`.
    Spawn {
        /// The unit.
        unit: u32,
        /// Which list of commands.
        key: Key,
        /// Which of them.
        number: usize,
        /// As which process.
        role: Role,
    },
    /// Mount or swap on in a child, as the control process.
    Mount {
        /// The unit.
        unit: u32,
    },
    /// Unmount or swap off in a child, as the control process.
    Unmount {
        /// The unit.
        unit: u32,
    },
    /// Set a socket, timer or path up; answer with [`Event::Armed`].
    Arm {
        /// The unit.
        unit: u32,
    },
    /// Take it down.
    Disarm {
        /// The unit.
        unit: u32,
    },
    /// Send a signal.
    Signal {
        /// The unit.
        unit: u32,
        /// The signal.
        signal: u8,
        /// To whom.
        scope: Scope,
    },
    /// Find the main process of a forking service; answer with [`Event::MainPid`].
    FindMainPid {
        /// The unit.
        unit: u32,
    },
    /// Wait, as the unit's control process, for its name to be on the bus.
    AwaitBusName {
        /// The unit.
        unit: u32,
    },
    /// The unit is down: remove its cgroup, its runtime directory, its sockets.
    Release {
        /// The unit.
        unit: u32,
    },
    /// The unit's state changed.
    Changed {
        /// The unit.
        unit: u32,
    },
    /// A job is finished.
    JobDone {
        /// The unit.
        unit: u32,
        /// What it was.
        kind: JobKind,
        /// How it went.
        result: JobResult,
    },
    /// Units are down, or time is up: end the machine. Names what did not stop.
    Final {
        /// How.
        how: Shutdown,
        /// Units that were still not down.
        culprits: Vec<u32>,
    },
}

/// To whom a signal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The main process.
    Main,
    /// The control process.
    Control,
    /// Both of them, but no other.
    Known,
    /// Every process of the cgroup.
    All,
}
