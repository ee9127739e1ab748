//! The settings that a unit in the graph can carry. One table; a number, once given, keeps its meaning.

/// How a setting's value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Shape {
    /// One unsigned 64-bit number: microseconds, bytes, a mode, an enumeration, a set of flags.
    Number = 1,
    /// One string.
    Text = 2,
    /// Strings in order.
    Texts = 3,
    /// Indices of other units, ascending.
    Units = 4,
    /// 64-bit numbers in order.
    Numbers = 5,
    /// (number, string) pairs in order.
    Tagged = 6,
    /// Command lines in order: flags, program, arguments.
    Commands = 7,
}

macro_rules! keys {
    ($($number:literal $name:ident $shape:ident $doc:literal;)*) => {
        /// One setting. The documentation of each says what its value means.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Key { $(#[doc = $doc] $name = $number,)* }

        /// Every key in the order of its number.
        pub const KEYS: &[Key] = &[$(Key::$name,)*];

        impl Key {
            /// How its value is stored.
            pub const fn shape(self) -> Shape {
                match self { $(Self::$name => Shape::$shape,)* }
            }

            /// Its name, for messages.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The key of that number.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

keys! {
    1 Description Text "What the unit is, for people.";
    2 DefinedAt Text "Where it was defined: `FILE:LINE`.";
    3 Flags Number "Yes/no settings, a set of `flag::*`.";
    4 Fingerprint Number "Hash of all settings that matter to a running instance; equal means nothing to restart.";
    5 RestartTriggers Text "X-Restart-Triggers, or a hash of it.";
    6 ReloadTriggers Text "X-Reload-Triggers, or a hash of it.";
    7 Aliases Texts "Other names of the unit.";
    8 Template Texts "A template's definition, for instances that are named only at run time: section, directive, value, again and again.";
    10 Requires Units "Requires=";
    11 Requisite Units "Requisite=";
    12 Wants Units "Wants=";
    13 BindsTo Units "BindsTo=";
    14 PartOf Units "PartOf=";
    15 Upholds Units "Upholds=";
    16 Conflicts Units "Conflicts=";
    17 Before Units "Before=";
    18 After Units "After=";
    19 OnFailure Units "OnFailure=";
    20 OnSuccess Units "OnSuccess=";
    21 PropagatesReloadTo Units "PropagatesReloadTo=";
    22 PropagatesStopTo Units "PropagatesStopTo=";
    23 Triggers Units "Units that a socket, timer or path starts.";
    24 JoinsNamespaceOf Units "JoinsNamespaceOf=";
    30 RequiredBy Units "Inverse of Requires=.";
    31 RequisiteOf Units "Inverse of Requisite=.";
    32 WantedBy Units "Inverse of Wants=.";
    33 BoundBy Units "Inverse of BindsTo=.";
    34 ConsistsOf Units "Inverse of PartOf=.";
    35 UpheldBy Units "Inverse of Upholds=.";
    36 ConflictedBy Units "Inverse of Conflicts=.";
    37 TriggeredBy Units "Inverse of Triggers.";
    50 Conditions Tagged "Condition*=: tag is a `condition::*` code with its flags, text the argument.";
    51 Asserts Tagged "Assert*=, likewise.";
    52 StartLimitInterval Number "StartLimitIntervalSec= in microseconds.";
    53 StartLimitBurst Number "StartLimitBurst=";
    54 JobTimeout Number "JobTimeoutSec= in microseconds, u64::MAX for infinity.";
    55 JobRunningTimeout Number "JobRunningTimeoutSec= in microseconds, u64::MAX for infinity.";
    56 FailureAction Number "FailureAction=: an `action::*`, 0 for none.";
    57 SuccessAction Number "SuccessAction=, likewise.";
    58 StartLimitAction Number "StartLimitAction=, likewise.";
    59 JobTimeoutAction Number "JobTimeoutAction=, likewise.";
    60 Type Number "Type=, a `service_type::*`.";
    61 Restart Number "Restart=, a `restart::*`.";
    62 RestartSec Number "RestartSec= in microseconds.";
    63 RestartSteps Number "RestartSteps=";
    64 RestartMaxDelay Number "RestartMaxDelaySec= in microseconds.";
    65 TimeoutStart Number "TimeoutStartSec= in microseconds, u64::MAX for infinity.";
    66 TimeoutStop Number "TimeoutStopSec= in microseconds, u64::MAX for infinity.";
    67 RuntimeMax Number "RuntimeMaxSec= in microseconds.";
    68 Watchdog Number "WatchdogSec= in microseconds.";
    69 PidFile Text "PIDFile=";
    70 NotifyAccess Number "NotifyAccess=, a `notify_access::*`.";
    71 SuccessExitStatus Numbers "SuccessExitStatus=: exit codes, signals as 256 + number.";
    72 RestartPreventExitStatus Numbers "RestartPreventExitStatus=, likewise.";
    73 RestartForceExitStatus Numbers "RestartForceExitStatus=, likewise.";
    74 ExecCondition Commands "ExecCondition=";
    75 ExecStartPre Commands "ExecStartPre=";
    76 ExecStart Commands "ExecStart=";
    77 ExecStartPost Commands "ExecStartPost=";
    78 ExecReload Commands "ExecReload=";
    79 ExecStop Commands "ExecStop=";
    80 ExecStopPost Commands "ExecStopPost=";
    81 BusName Text "BusName=";
    82 Sockets Units "Sockets=: units whose sockets are passed.";
    83 FileDescriptorStoreMax Number "FileDescriptorStoreMax=";
    90 KillMode Number "KillMode=, a `kill_mode::*`.";
    91 KillSignal Number "KillSignal=";
    92 FinalKillSignal Number "FinalKillSignal=";
    93 RestartKillSignal Number "RestartKillSignal=";
    94 ReloadSignal Number "ReloadSignal=";
    95 WatchdogSignal Number "WatchdogSignal=";
    100 User Text "User=";
    101 Group Text "Group=";
    102 SupplementaryGroups Texts "SupplementaryGroups=";
    103 WorkingDirectory Text "WorkingDirectory=, `~` for the user's home.";
    104 RootDirectory Text "RootDirectory=";
    105 Environment Texts "Environment=, one `NAME=value` each.";
    106 EnvironmentFiles Tagged "EnvironmentFile=: tag 1 when a missing file is no error.";
    107 UnsetEnvironment Texts "UnsetEnvironment=";
    108 UMask Number "UMask=";
    109 Limits Numbers "Limit*=: triples of resource number, soft, hard.";
    110 Nice Number "Nice= plus 20.";
    111 OomScoreAdjust Number "OOMScoreAdjust= plus 1000.";
    112 IoPriority Number "ioprio_set(2) value.";
    113 CpuScheduling Numbers "Policy, priority, reset-on-fork.";
    114 CpuAffinity Numbers "CPUs of the mask.";
    115 StandardInput Tagged "StandardInput=: one pair of `standard_io::*` and path or name.";
    116 StandardOutput Tagged "StandardOutput=, likewise.";
    117 StandardError Tagged "StandardError=, likewise.";
    118 TtyPath Text "TTYPath=";
    119 SyslogIdentifier Text "SyslogIdentifier=";
    120 UtmpIdentifier Text "UtmpIdentifier=";
    121 PassEnvironment Texts "PassEnvironment=";
    122 TimerSlack Number "TimerSlackNSec=";
    123 LogLevelMax Number "LogLevelMax=";
    124 SyslogLevel Number "SyslogLevel=";
    125 SyslogLevelPrefix Number "SyslogLevelPrefix=: 0 no, 1 yes.";
    126 LogRateLimitInterval Number "LogRateLimitIntervalSec= in microseconds.";
    127 LogRateLimitBurst Number "LogRateLimitBurst=";
    130 RuntimeDirectory Texts "RuntimeDirectory=";
    131 RuntimeDirectoryMode Number "RuntimeDirectoryMode=";
    132 StateDirectory Texts "StateDirectory=";
    133 StateDirectoryMode Number "StateDirectoryMode=";
    134 CacheDirectory Texts "CacheDirectory=";
    135 CacheDirectoryMode Number "CacheDirectoryMode=";
    136 LogsDirectory Texts "LogsDirectory=";
    137 LogsDirectoryMode Number "LogsDirectoryMode=";
    138 ConfigurationDirectory Texts "ConfigurationDirectory=";
    139 ConfigurationDirectoryMode Number "ConfigurationDirectoryMode=";
    140 RuntimeDirectoryPreserve Number "RuntimeDirectoryPreserve=: 0 no, 1 restart, 2 yes.";
    141 LoadCredential Texts "LoadCredential=: `ID:PATH`.";
    142 SetCredential Texts "SetCredential=: `ID:VALUE`.";
    143 ImportCredential Texts "ImportCredential=: `PATTERN[:PREFIX]`.";
    150 CapabilityBoundingSet Number "The bounding set as a mask.";
    151 AmbientCapabilities Number "The ambient set as a mask.";
    152 SecureBits Number "SecureBits=";
    153 SeccompFilter Numbers "Assembled seccomp programs in order: each its length, then one instruction (struct sock_filter) a number.";
    154 ReadWritePaths Tagged "ReadWritePaths=: tag bits 1 when a missing path is no error, 2 when it is below RootDirectory=.";
    155 ReadOnlyPaths Tagged "ReadOnlyPaths=, likewise.";
    156 InaccessiblePaths Tagged "InaccessiblePaths=, likewise.";
    157 BindPaths Texts "BindPaths=: `[-]SOURCE[:DESTINATION[:OPTIONS]]`.";
    158 BindReadOnlyPaths Texts "BindReadOnlyPaths=, likewise.";
    159 TemporaryFileSystem Texts "TemporaryFileSystem=: `PATH[:OPTIONS]`.";
    160 ProtectSystem Number "ProtectSystem=: 0 no, 1 yes, 2 full, 3 strict.";
    161 ProtectHome Number "ProtectHome=: 0 no, 1 yes, 2 read-only, 3 tmpfs.";
    162 ProtectProc Number "ProtectProc=: 0 default, 1 noaccess, 2 invisible, 3 ptraceable.";
    163 Sandbox Number "Yes/no sandbox settings, a set of `sandbox::*`.";
    164 KeyringMode Number "KeyringMode=: 0 inherit, 1 private, 2 shared.";
    165 ExecPaths Tagged "ExecPaths=: tag 1 when a missing path is no error.";
    166 NoExecPaths Tagged "NoExecPaths=, likewise.";
    170 Slice Text "Slice=: the path of the parent cgroup below the root.";
    171 CgroupWrites Texts "`FILE=VALUE` writes into the unit's cgroup.";
    172 DevicePolicy Number "DevicePolicy=: 0 auto, 1 closed, 2 strict.";
    173 DeviceAllow Texts "DeviceAllow=: `NODE|GROUP [rwm]`.";
    174 NetworkFilter Numbers "Programs for the cgroup in order: each where it is attached (enum bpf_attach_type), its length, then one instruction (struct bpf_insn) a number.";
    180 MountWhat Text "What= of a mount or swap.";
    181 MountWhere Text "Where=";
    182 MountType Text "Type= of a mount.";
    183 MountOptions Text "Options=";
    184 SwapPriority Number "Priority= of a swap plus 1.";
    190 Listen Tagged "Listen*=: tag is a `listen::*`, text the address.";
    191 SocketMode Number "SocketMode=";
    192 SocketUser Text "SocketUser=";
    193 SocketGroup Text "SocketGroup=";
    194 Backlog Number "Backlog=";
    195 MaxConnections Number "MaxConnections=";
    196 FileDescriptorName Text "FileDescriptorName=";
    197 DirectoryMode Number "DirectoryMode=";
    198 Symlinks Texts "Symlinks=";
    199 BindIpv6Only Number "BindIPv6Only=: 0 default, 1 both, 2 ipv6-only.";
    200 TriggerLimitInterval Number "TriggerLimitIntervalSec= in microseconds.";
    201 TriggerLimitBurst Number "TriggerLimitBurst=";
    202 MaxConnectionsPerSource Number "MaxConnectionsPerSource=";
    210 OnCalendar Texts "OnCalendar=, normalized.";
    211 OnActive Numbers "OnActiveSec= in microseconds.";
    212 OnBoot Numbers "OnBootSec=";
    213 OnStartup Numbers "OnStartupSec=";
    214 OnUnitActive Numbers "OnUnitActiveSec=";
    215 OnUnitInactive Numbers "OnUnitInactiveSec=";
    216 AccuracySec Number "AccuracySec=";
    217 RandomizedDelaySec Number "RandomizedDelaySec=";
    220 PathWatches Tagged "Path*=: tag is a `path_watch::*`, text the path.";
}

/// Bits of [`Key::Flags`].
pub mod flag {
    /// RemainAfterExit=
    pub const REMAIN_AFTER_EXIT: u64 = 1;
    /// GuessMainPID=
    pub const GUESS_MAIN_PID: u64 = 1 << 1;
    /// SendSIGHUP=
    pub const SEND_SIGHUP: u64 = 1 << 2;
    /// SendSIGKILL=no
    pub const NO_SIGKILL: u64 = 1 << 3;
    /// StopWhenUnneeded=
    pub const STOP_WHEN_UNNEEDED: u64 = 1 << 4;
    /// RefuseManualStart=
    pub const REFUSE_MANUAL_START: u64 = 1 << 5;
    /// RefuseManualStop=
    pub const REFUSE_MANUAL_STOP: u64 = 1 << 6;
    /// TTYReset=
    pub const TTY_RESET: u64 = 1 << 7;
    /// TTYVHangup=
    pub const TTY_VHANGUP: u64 = 1 << 8;
    /// TTYVTDisallocate=
    pub const TTY_VT_DISALLOCATE: u64 = 1 << 9;
    /// X-RestartIfChanged=no
    pub const NO_RESTART_IF_CHANGED: u64 = 1 << 10;
    /// X-ReloadIfChanged=
    pub const RELOAD_IF_CHANGED: u64 = 1 << 11;
    /// X-StopIfChanged=no
    pub const NO_STOP_IF_CHANGED: u64 = 1 << 12;
    /// X-StopOnRemoval=no
    pub const KEEP_ON_REMOVAL: u64 = 1 << 13;
    /// X-StopOnReconfiguration=
    pub const STOP_ON_RECONFIGURATION: u64 = 1 << 14;
    /// X-OnlyManualStart=
    pub const ONLY_MANUAL_START: u64 = 1 << 15;
    /// X-NotSocketActivated=
    pub const NOT_SOCKET_ACTIVATED: u64 = 1 << 16;
    /// IgnoreSIGPIPE=no
    pub const KEEP_SIGPIPE: u64 = 1 << 17;
    /// RootDirectoryStartOnly=
    pub const ROOT_DIRECTORY_START_ONLY: u64 = 1 << 18;
    /// PermissionsStartOnly=
    pub const PERMISSIONS_START_ONLY: u64 = 1 << 19;
    /// NoNewPrivileges=
    pub const NO_NEW_PRIVILEGES: u64 = 1 << 20;
    /// Delegate=
    pub const DELEGATE: u64 = 1 << 21;
    /// WorkingDirectory=-…: a missing directory is no error.
    pub const WORKING_DIRECTORY_OPTIONAL: u64 = 1 << 22;
    /// DynamicUser=
    pub const DYNAMIC_USER: u64 = 1 << 23;
    /// Accept=
    pub const ACCEPT: u64 = 1 << 24;
    /// RemoveOnStop=
    pub const REMOVE_ON_STOP: u64 = 1 << 25;
    /// FlushPending=
    pub const FLUSH_PENDING: u64 = 1 << 26;
    /// FreeBind=
    pub const FREE_BIND: u64 = 1 << 27;
    /// ReusePort=
    pub const REUSE_PORT: u64 = 1 << 28;
    /// Persistent=
    pub const PERSISTENT: u64 = 1 << 29;
    /// FixedRandomDelay=
    pub const FIXED_RANDOM_DELAY: u64 = 1 << 30;
    /// MakeDirectory=
    pub const MAKE_DIRECTORY: u64 = 1 << 31;
    /// A file system whose absence does not fail the boot.
    pub const NO_FAIL: u64 = 1 << 32;
    /// DefaultDependencies=no
    pub const NO_DEFAULT_DEPENDENCIES: u64 = 1 << 33;
    /// OnClockChange=
    pub const ON_CLOCK_CHANGE: u64 = 1 << 35;
    /// GuessMainPID=no
    pub const NO_GUESS_MAIN_PID: u64 = 1 << 37;
    /// One of the instances that wait for the connections of a socket with Accept=.
    pub const FOR_CONNECTION: u64 = 1 << 38;
    /// NonBlocking=
    pub const NON_BLOCKING: u64 = 1 << 39;
    /// OnTimezoneChange=
    pub const ON_TIMEZONE_CHANGE: u64 = 1 << 36;
    /// RestartMode=direct
    pub const RESTART_DIRECT: u64 = 1 << 40;
    /// The unit is a template: its name ends in `@`, its texts may hold `%i` and `%I`.
    pub const TEMPLATE: u64 = 1 << 34;
}

/// Values of [`Key::Type`].
pub mod service_type {
    /// Started once forked.
    pub const SIMPLE: u64 = 0;
    /// Started once executed.
    pub const EXEC: u64 = 1;
    /// Started once the first process has ended well and its child goes on.
    pub const FORKING: u64 = 2;
    /// Started once the commands have ended well.
    pub const ONESHOT: u64 = 3;
    /// Started once its name is on the bus.
    pub const DBUS: u64 = 4;
    /// Started once it says READY=1.
    pub const NOTIFY: u64 = 5;
    /// Likewise, and reloaded by signal.
    pub const NOTIFY_RELOAD: u64 = 6;
    /// As simple, but after all other jobs.
    pub const IDLE: u64 = 7;
}

/// Values of [`Key::FailureAction`] and its kin: the number of a `control::Shutdown`, and whether nothing is stopped before.
pub mod action {
    /// At once, without stopping services.
    pub const FORCE: u64 = 1 << 8;
}

/// Values of [`Key::Restart`].
pub mod restart {
    /// Never.
    pub const NO: u64 = 0;
    /// After a clean end.
    pub const ON_SUCCESS: u64 = 1;
    /// After an unclean end of any kind.
    pub const ON_FAILURE: u64 = 2;
    /// After a signal, a timeout or the watchdog.
    pub const ON_ABNORMAL: u64 = 3;
    /// After the watchdog.
    pub const ON_WATCHDOG: u64 = 4;
    /// After an unclean signal.
    pub const ON_ABORT: u64 = 5;
    /// Always.
    pub const ALWAYS: u64 = 6;
}

/// Values of [`Key::KillMode`].
pub mod kill_mode {
    /// Every process of the unit.
    pub const CONTROL_GROUP: u64 = 0;
    /// The signal to the main process, the kill to all.
    pub const MIXED: u64 = 1;
    /// Only the main process.
    pub const PROCESS: u64 = 2;
    /// None.
    pub const NONE: u64 = 3;
}

/// Values of [`Key::NotifyAccess`].
pub mod notify_access {
    /// Nobody.
    pub const NONE: u64 = 0;
    /// The main process.
    pub const MAIN: u64 = 1;
    /// Main and control processes.
    pub const EXEC: u64 = 2;
    /// Every process of the unit.
    pub const ALL: u64 = 3;
}

/// Tags of the standard streams.
pub mod standard_io {
    /// /dev/null
    pub const NULL: u32 = 0;
    /// The unit's log.
    pub const LOG: u32 = 1;
    /// As standard output (or standard input, for output).
    pub const INHERIT: u32 = 2;
    /// The terminal of TTYPath=.
    pub const TTY: u32 = 3;
    /// The socket that started the service.
    pub const SOCKET: u32 = 4;
    /// A file, opened for reading or from its start.
    pub const FILE: u32 = 5;
    /// A file, appended to.
    pub const APPEND: u32 = 6;
    /// A file, truncated.
    pub const TRUNCATE: u32 = 7;
    /// The log and the console.
    pub const LOG_AND_CONSOLE: u32 = 8;
}

/// Flags of a command line: the prefixes of systemd.service(5), "Command lines".
pub mod command {
    /// `-`: failure is success.
    pub const IGNORE_FAILURE: u32 = 1;
    /// `+` or `!!`-less full privileges: no User=, no sandbox.
    pub const FULL_PRIVILEGES: u32 = 2;
    /// `!`: sandbox, but no User=.
    pub const NO_SETUID: u32 = 4;
    /// `:`: no substitution of variables.
    pub const NO_EXPAND: u32 = 8;
}

/// Tags of conditions: the code, with flags in the high bits.
pub mod condition {
    /// The condition is negated (`!`).
    pub const NEGATE: u32 = 1 << 30;
    /// The condition is a triggering one (`|`).
    pub const TRIGGER: u32 = 1 << 31;
    /// Everything below the flags.
    pub const CODE: u32 = NEGATE - 1;
    /// ConditionPathExists=
    pub const PATH_EXISTS: u32 = 1;
    /// ConditionPathExistsGlob=
    pub const PATH_EXISTS_GLOB: u32 = 2;
    /// ConditionPathIsDirectory=
    pub const PATH_IS_DIRECTORY: u32 = 3;
    /// ConditionPathIsSymbolicLink=
    pub const PATH_IS_SYMBOLIC_LINK: u32 = 4;
    /// ConditionPathIsMountPoint=
    pub const PATH_IS_MOUNT_POINT: u32 = 5;
    /// ConditionPathIsReadWrite=
    pub const PATH_IS_READ_WRITE: u32 = 6;
    /// ConditionDirectoryNotEmpty=
    pub const DIRECTORY_NOT_EMPTY: u32 = 7;
    /// ConditionFileNotEmpty=
    pub const FILE_NOT_EMPTY: u32 = 8;
    /// ConditionFileIsExecutable=
    pub const FILE_IS_EXECUTABLE: u32 = 9;
    /// ConditionKernelCommandLine=
    pub const KERNEL_COMMAND_LINE: u32 = 10;
    /// ConditionVirtualization=
    pub const VIRTUALIZATION: u32 = 11;
    /// ConditionCapability=
    pub const CAPABILITY: u32 = 12;
    /// ConditionUser=
    pub const USER: u32 = 13;
    /// ConditionFirstBoot=
    pub const FIRST_BOOT: u32 = 14;
    /// ConditionHost=
    pub const HOST: u32 = 15;
    /// ConditionArchitecture=
    pub const ARCHITECTURE: u32 = 16;
    /// ConditionACPower=
    pub const AC_POWER: u32 = 17;
    /// ConditionNeedsUpdate=
    pub const NEEDS_UPDATE: u32 = 18;
    /// ConditionSecurity=
    pub const SECURITY: u32 = 19;
}

/// Bits of [`Key::Sandbox`].
pub mod sandbox {
    /// PrivateTmp=
    pub const PRIVATE_TMP: u64 = 1;
    /// PrivateDevices=
    pub const PRIVATE_DEVICES: u64 = 1 << 1;
    /// PrivateNetwork=
    pub const PRIVATE_NETWORK: u64 = 1 << 2;
    /// PrivateUsers=
    pub const PRIVATE_USERS: u64 = 1 << 3;
    /// PrivateMounts=
    pub const PRIVATE_MOUNTS: u64 = 1 << 4;
    /// PrivateIPC=
    pub const PRIVATE_IPC: u64 = 1 << 5;
    /// ProtectControlGroups=
    pub const PROTECT_CONTROL_GROUPS: u64 = 1 << 6;
    /// ProtectKernelModules=
    pub const PROTECT_KERNEL_MODULES: u64 = 1 << 7;
    /// ProtectKernelTunables=
    pub const PROTECT_KERNEL_TUNABLES: u64 = 1 << 8;
    /// ProtectKernelLogs=
    pub const PROTECT_KERNEL_LOGS: u64 = 1 << 9;
    /// ProtectClock=
    pub const PROTECT_CLOCK: u64 = 1 << 10;
    /// ProtectHostname=
    pub const PROTECT_HOSTNAME: u64 = 1 << 11;
    /// ProcSubset=pid
    pub const PROC_SUBSET_PID: u64 = 1 << 12;
    /// LockPersonality=
    pub const LOCK_PERSONALITY: u64 = 1 << 13;
    /// MemoryDenyWriteExecute=
    pub const MEMORY_DENY_WRITE_EXECUTE: u64 = 1 << 14;
    /// RestrictRealtime=
    pub const RESTRICT_REALTIME: u64 = 1 << 15;
    /// RestrictSUIDSGID=
    pub const RESTRICT_SUID_SGID: u64 = 1 << 16;
    /// RemoveIPC=
    pub const REMOVE_IPC: u64 = 1 << 17;
    /// MountAPIVFS=
    pub const MOUNT_API_VFS: u64 = 1 << 18;
    /// PrivateTmp=disconnected
    pub const TMP_IS_DISCONNECTED: u64 = 1 << 19;
    /// ProtectControlGroups=private or strict: a cgroup namespace
    pub const PRIVATE_CONTROL_GROUPS: u64 = 1 << 20;
    /// ProtectControlGroups=private: what is in it may be changed
    pub const CONTROL_GROUPS_ARE_WRITABLE: u64 = 1 << 21;
    /// ProtectHostname=private: a name of its own, which it may change
    pub const PRIVATE_HOSTNAME: u64 = 1 << 22;
    /// PrivateUsers=identity: the first 65536 users and groups
    pub const IDENTITY_USERS: u64 = 1 << 23;
}

/// Tags of [`Key::Listen`].
pub mod listen {
    /// ListenStream=
    pub const STREAM: u32 = 1;
    /// ListenDatagram=
    pub const DATAGRAM: u32 = 2;
    /// ListenSequentialPacket=
    pub const SEQPACKET: u32 = 3;
    /// ListenFIFO=
    pub const FIFO: u32 = 4;
    /// ListenSpecial=
    pub const SPECIAL: u32 = 5;
    /// ListenNetlink=
    pub const NETLINK: u32 = 6;
}

/// Tags of [`Key::PathWatches`].
pub mod path_watch {
    /// PathExists=
    pub const EXISTS: u32 = 1;
    /// PathExistsGlob=
    pub const EXISTS_GLOB: u32 = 2;
    /// PathChanged=
    pub const CHANGED: u32 = 3;
    /// PathModified=
    pub const MODIFIED: u32 = 4;
    /// DirectoryNotEmpty=
    pub const DIRECTORY_NOT_EMPTY: u32 = 5;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_read_back() {
        for pair in KEYS.windows(2) {
            assert!((pair[0] as u16) < pair[1] as u16, "{} is out of order", pair[1].name());
        }
        for key in KEYS {
            assert_eq!(Key::from_number(*key as u16), Some(*key));
        }
    }
}
