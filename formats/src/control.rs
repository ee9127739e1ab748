//! The control protocol: what `firn`, `firn-activate` and the test agent say to the supervisor over the stream socket
//! [`SOCKET`], and what it answers.
//!
//! Each message is a frame: length u32 (little-endian, of what follows, at most [`MAX_FRAME`]), then a tag byte and the
//! fields in order. Numbers are little-endian; a string is its length u32 and its bytes (UTF-8); a list its count u32.
//! A client sends a [`Request`] and reads [`Reply`]s until one that [`Reply::is_last`]; it may then send the next. After
//! [`Request::Subscribe`] the connection carries [`Reply::Changed`] until the client closes it. Changing requests are
//! taken from root only, told by the socket's peer credentials.

mod frame;

pub use frame::{Body, Fields, MAX_FRAME, Malformed, Message, split_frame};

/// Where the supervisor listens.
pub const SOCKET: &str = "/run/firn/control";

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The state of every unit. Answer: [`Reply::Units`].
    List,
    /// The state of one unit. Answer: [`Reply::Units`] with one.
    Status {
        /// Its name or an alias.
        unit: String,
    },
    /// A job for a unit. Answer: [`Reply::Done`] when it is finished (at once without `wait`), or [`Reply::Refused`].
    Job {
        /// What to do.
        verb: Verb,
        /// The unit's name or an alias.
        unit: String,
        /// Answer when the job is finished, not when it is accepted.
        wait: bool,
    },
    /// Sends a signal to a unit's processes.
    Kill {
        /// The unit's name.
        unit: String,
        /// The signal's number.
        signal: u32,
        /// Only to the main process.
        main_only: bool,
    },
    /// Forgets failures and rate limits, of one unit or (empty name) of all.
    ResetFailed {
        /// The unit's name or nothing.
        unit: String,
    },
    /// Goes from the running graph to this one. Answers: [`Reply::Step`] for each unit touched, then [`Reply::Done`].
    Switch {
        /// Path of the new `services.graph`.
        graph: String,
        /// Which part of the way.
        phase: Phase,
    },
    /// Ends the machine.
    Shutdown {
        /// How.
        how: Shutdown,
    },
    /// Answers with [`Reply::Units`] once the unit is in that state (or fails to get there), or [`Reply::Refused`] when
    /// time is up.
    Wait {
        /// The unit's name.
        unit: String,
        /// The state waited for.
        state: ActiveState,
        /// Milliseconds, 0 for no limit.
        timeout: u32,
    },
    /// Every change of every unit from now on, as [`Reply::Changed`].
    Subscribe,
    /// Process 1 becomes the program of the running generation; so does the supervisor. Answer: [`Reply::Done`] before it
    /// begins.
    Reexec,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verb {
    /// Start it and what it needs.
    Start = 1,
    /// Stop it and what needs it.
    Stop = 2,
    /// Stop and start it.
    Restart = 3,
    /// Reload it.
    Reload = 4,
    /// Restart it if it runs.
    TryRestart = 5,
    /// Reload it if it can, else restart it; start it when it is down.
    ReloadOrRestart = 6,
}

/// How the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Shutdown {
    /// Power off.
    PowerOff = 1,
    /// Reboot.
    Reboot = 2,
    /// Stop the processor.
    Halt = 3,
    /// Execute the kernel that kexec loaded.
    Kexec = 4,
    /// End everything but the kernel, and begin again with the default generation's userspace.
    SoftReboot = 5,
}

impl Shutdown {
    /// The way of that number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::PowerOff),
            2 => Some(Self::Reboot),
            3 => Some(Self::Halt),
            4 => Some(Self::Kexec),
            5 => Some(Self::SoftReboot),
            _ => None,
        }
    }
}

/// Parts of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Only what has to stop before `/etc` changes: removed units and those that restart by stop and start.
    Stop = 1,
    /// The new graph is loaded; restarts, reloads and starts follow.
    Finish = 2,
    /// Both.
    Whole = 3,
}

/// systemd's active state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ActiveState {
    /// Down.
    Inactive = 1,
    /// On its way up.
    Activating = 2,
    /// Up.
    Active = 3,
    /// Up and reloading.
    Reloading = 4,
    /// On its way down.
    Deactivating = 5,
    /// Down because something went wrong.
    Failed = 6,
}

impl ActiveState {
    /// systemd's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Activating => "activating",
            Self::Active => "active",
            Self::Reloading => "reloading",
            Self::Deactivating => "deactivating",
            Self::Failed => "failed",
        }
    }

    /// The state of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        (1..=6).filter_map(Self::from_number).find(|state| state.word() == word)
    }

    /// The state of that number in the protocol.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Inactive,
            2 => Self::Activating,
            3 => Self::Active,
            4 => Self::Reloading,
            5 => Self::Deactivating,
            6 => Self::Failed,
            _ => return None,
        })
    }
}

/// The exit status of a unit whose main process has not ended since its last start.
pub const NO_EXIT: u32 = 1024;

/// What an exit status has more when the signal dumped core.
pub const CORE_DUMPED: u32 = 512;

/// How a main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MainExit {
    /// By itself, with that code.
    Code(u8),
    /// By a signal.
    Signal(u8),
    /// By a signal that dumped core.
    CoreDump(u8),
}

/// The state of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitStatus {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its state.
    pub active: ActiveState,
    /// The finer state of its kind: `running`, `exited`, `auto-restart`, `mounted`, ….
    pub sub: String,
    /// systemd's result of the last run: `success`, `exit-code`, `signal`, `timeout`, `start-limit-hit`, ….
    pub result: String,
    /// The main process, 0 for none.
    pub main_pid: u32,
    /// Exit code of the last main process, 256 + signal number, 512 more with a core dump; [`NO_EXIT`] when none has ended yet.
    /// [`UnitStatus::main_exit`] reads it.
    pub exit_status: u32,
    /// How often it was restarted by itself.
    pub restarts: u32,
    /// When it entered its state, microseconds of CLOCK_REALTIME.
    pub since: u64,
    /// How long its last start took, microseconds; 0 when it was not started yet.
    pub took: u64,
    /// What the service said of itself (STATUS=).
    pub status_text: String,
    /// Its cgroup below /sys/fs/cgroup.
    pub cgroup: String,
    /// Where it is defined.
    pub defined_at: String,
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The request is carried out; for a job, its result (`done`, `failed`, `dependency`, `timeout`, `canceled`, `skipped`).
    Done {
        /// The result.
        result: String,
    },
    /// It is not, and why.
    Refused {
        /// One sentence.
        reason: String,
    },
    /// States of units.
    Units(Vec<UnitStatus>),
    /// A unit changed.
    Changed(UnitStatus),
    /// One unit of a switch: what was done and how it went.
    Step {
        /// The unit.
        unit: String,
        /// `start`, `stop`, `restart`, `reload`, `keep`.
        action: String,
        /// Why.
        reason: String,
        /// As in [`Reply::Done`].
        result: String,
    },
}

impl Reply {
    /// Whether it ends the answer to a request.
    pub const fn is_last(&self) -> bool {
        !matches!(self, Self::Changed(_) | Self::Step { .. })
    }
}

impl Message for Request {
    fn encode(&self, body: &mut Body) {
        match self {
            Self::List => body.byte(1),
            Self::Status { unit } => body.byte(2).text(unit),
            Self::Job { verb, unit, wait } => body.byte(3).byte(*verb as u8).text(unit).byte(u8::from(*wait)),
            Self::Kill { unit, signal, main_only } => {
                body.byte(4).text(unit).word(*signal).byte(u8::from(*main_only))
            }
            Self::ResetFailed { unit } => body.byte(5).text(unit),
            Self::Switch { graph, phase } => body.byte(6).text(graph).byte(*phase as u8),
            Self::Shutdown { how } => body.byte(7).byte(*how as u8),
            Self::Wait { unit, state, timeout } => body.byte(8).text(unit).byte(*state as u8).word(*timeout),
            Self::Subscribe => body.byte(9),
            Self::Reexec => body.byte(10),
        };
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        Some(match fields.byte()? {
            1 => Self::List,
            2 => Self::Status { unit: fields.text()? },
            3 => {
                let verb = match fields.byte()? {
                    1 => Verb::Start,
                    2 => Verb::Stop,
                    3 => Verb::Restart,
                    4 => Verb::Reload,
                    5 => Verb::TryRestart,
                    6 => Verb::ReloadOrRestart,
                    _ => return None,
                };
                Self::Job { verb, unit: fields.text()?, wait: fields.flag()? }
            }
            4 => Self::Kill { unit: fields.text()?, signal: fields.word()?, main_only: fields.flag()? },
            5 => Self::ResetFailed { unit: fields.text()? },
            6 => {
                let graph = fields.text()?;
                let phase = match fields.byte()? {
                    1 => Phase::Stop,
                    2 => Phase::Finish,
                    3 => Phase::Whole,
                    _ => return None,
                };
                Self::Switch { graph, phase }
            }
            7 => Self::Shutdown {
                how: match fields.byte()? {
                    1 => Shutdown::PowerOff,
                    2 => Shutdown::Reboot,
                    3 => Shutdown::Halt,
                    4 => Shutdown::Kexec,
                    5 => Shutdown::SoftReboot,
                    _ => return None,
                },
            },
            8 => Self::Wait {
                unit: fields.text()?,
                state: ActiveState::from_number(fields.byte()?)?,
                timeout: fields.word()?,
            },
            9 => Self::Subscribe,
            10 => Self::Reexec,
            _ => return None,
        })
    }
}

impl UnitStatus {
    /// How the last main process ended; none when it runs, or never ran.
    pub fn main_exit(&self) -> Option<MainExit> {
        let number = (self.exit_status & 255) as u8;
        match self.exit_status {
            NO_EXIT.. => None,
            CORE_DUMPED.. => Some(MainExit::CoreDump(number)),
            256.. => Some(MainExit::Signal(number)),
            _ => Some(MainExit::Code(number)),
        }
    }

    fn encode(&self, body: &mut Body) {
        body.text(&self.name)
            .text(&self.description)
            .byte(self.active as u8)
            .text(&self.sub)
            .text(&self.result);
        body.word(self.main_pid).word(self.exit_status).word(self.restarts).long(self.since).long(self.took);
        body.text(&self.status_text).text(&self.cgroup).text(&self.defined_at);
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            name: fields.text()?,
            description: fields.text()?,
            active: ActiveState::from_number(fields.byte()?)?,
            sub: fields.text()?,
            result: fields.text()?,
            main_pid: fields.word()?,
            exit_status: fields.word()?,
            restarts: fields.word()?,
            since: fields.long()?,
            took: fields.long()?,
            status_text: fields.text()?,
            cgroup: fields.text()?,
            defined_at: fields.text()?,
        })
    }
}

impl Message for Reply {
    fn encode(&self, body: &mut Body) {
        match self {
            Self::Done { result } => {
                body.byte(1).text(result);
            }
            Self::Refused { reason } => {
                body.byte(2).text(reason);
            }
            Self::Units(units) => {
                body.byte(3).word(units.len() as u32);
                for unit in units {
                    unit.encode(body);
                }
            }
            Self::Changed(unit) => unit.encode(body.byte(4)),
            Self::Step { unit, action, reason, result } => {
                body.byte(5).text(unit).text(action).text(reason).text(result);
            }
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        Some(match fields.byte()? {
            1 => Self::Done { result: fields.text()? },
            2 => Self::Refused { reason: fields.text()? },
            3 => {
                let count = fields.word()?;
                let mut units = Vec::new();
                for _ in 0..count {
                    units.push(UnitStatus::decode(fields)?);
                }
                Self::Units(units)
            }
            4 => Self::Changed(UnitStatus::decode(fields)?),
            5 => Self::Step {
                unit: fields.text()?,
                action: fields.text()?,
                reason: fields.text()?,
                result: fields.text()?,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Vec<Request> {
        let unit = || "nginx.service".to_owned();
        let mut list = vec![
            Request::List,
            Request::Status { unit: unit() },
            Request::Kill { unit: unit(), signal: 9, main_only: true },
            Request::ResetFailed { unit: String::new() },
            Request::Switch { graph: "/nix/store/x/services.graph".into(), phase: Phase::Finish },
            Request::Shutdown { how: Shutdown::Kexec },
            Request::Wait { unit: unit(), state: ActiveState::Failed, timeout: 5000 },
            Request::Subscribe,
            Request::Reexec,
        ];
        for verb in
            [Verb::Start, Verb::Stop, Verb::Restart, Verb::Reload, Verb::TryRestart, Verb::ReloadOrRestart]
        {
            list.push(Request::Job { verb, unit: unit(), wait: true });
        }
        list
    }

    fn replies() -> Vec<Reply> {
        let status = UnitStatus {
            name: "a.service".into(),
            description: "Ä".into(),
            active: ActiveState::Activating,
            sub: "auto-restart".into(),
            result: "exit-code".into(),
            main_pid: 77,
            exit_status: 256 + 9,
            restarts: 3,
            since: u64::MAX,
            took: 77,
            status_text: String::new(),
            cgroup: "/system.slice/a.service".into(),
            defined_at: "/etc/nixos/configuration.nix:3".into(),
        };
        vec![
            Reply::Done { result: "done".into() },
            Reply::Refused { reason: "there is no unit x.service".into() },
            Reply::Units(vec![status.clone(), status.clone()]),
            Reply::Changed(status),
            Reply::Step {
                unit: "a".into(),
                action: "stop".into(),
                reason: "r".into(),
                result: "done".into(),
            },
        ]
    }

    #[test]
    fn what_is_sent_is_received() {
        let mut stream = Vec::new();
        for request in requests() {
            request.send(&mut stream).unwrap();
        }
        let mut reader = stream.as_slice();
        for request in requests() {
            assert_eq!(Request::receive(&mut reader).unwrap(), Some(request));
        }
        assert_eq!(Request::receive(&mut reader).unwrap(), None);
        for reply in replies() {
            let frame = reply.to_frame();
            let (body, length) = split_frame(&frame).unwrap().unwrap();
            assert_eq!((Reply::from_body(body).unwrap(), length), (reply, frame.len()));
        }
    }

    #[test]
    fn hostile_frames_are_refused() {
        assert_eq!(split_frame(&[255; 8]), Err(Malformed));
        assert_eq!(split_frame(&[3, 0, 0, 0, 1]), Ok(None));
        for frame in requests().iter().map(Message::to_frame).chain(replies().iter().map(Message::to_frame)) {
            let body = &frame[4..];
            for length in 0..body.len() {
                assert!(
                    Request::from_body(&body[..length]).is_err()
                        || Reply::from_body(&body[..length]).is_err()
                );
            }
            for position in 0..body.len() {
                let mut damaged = body.to_vec();
                damaged[position] = 0xff;
                drop((Request::from_body(&damaged), Reply::from_body(&damaged)));
            }
        }
    }
}
