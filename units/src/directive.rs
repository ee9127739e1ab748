//! The table of directives: for each section what Firn honours and how its value becomes a setting of the graph. A
//! directive that is not here is a fault; one in [`KNOWN_BUT_NOT_HONOURED`] is refused by name, as what a unit asks for
//! must not be dropped silently.

use formats::service_graph::key::{self, Key, condition, flag, listen, path_watch, sandbox};

/// How a directive's values are read.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Names of units, blank-separated.
    Units(Key),
    /// Yes/no: sets the bits on yes.
    Flag(u64),
    /// Yes/no: sets the bits on no.
    FlagOnNo(u64),
    /// Yes/no: sets bits of `Key::Sandbox` on yes.
    Sandbox(u64),
    /// Likewise, and words that mean yes with bits of their own.
    SandboxOr(u64, &'static [(&'static str, u64)]),
    /// One text with specifiers.
    Text(Key),
    /// Blank-separated words, quotes honoured, lists added up, an empty value resets.
    Words(Key),
    /// One path a value; a leading `-` becomes tag 1.
    OptionalPaths(Key),
    /// A span of time.
    Time(Key),
    /// Spans of time, added up.
    Times(Key),
    /// A number.
    Number(Key),
    /// A number plus an offset, so that it is not negative: the offset and the range.
    Offset(Key, i64, i64, i64),
    /// A mode.
    Mode(Key),
    /// One of some words.
    Choice(Key, &'static [(&'static str, u64)]),
    /// A signal.
    Signal(Key),
    /// Exit statuses.
    Statuses(Key),
    /// Command lines.
    Commands(Key),
    /// A condition or assertion of that code.
    Condition(Key, u32),
    /// A resource limit of that number; sizes when true.
    Limit(u64, bool),
    /// A standard stream.
    Stream(Key),
    /// Capabilities.
    Capabilities(Key),
    /// A tagged text of that tag.
    Tagged(Key, u32),
    /// A number or size written to that file of the cgroup.
    Cgroup(&'static str, CgroupValue),
    /// Says something to people or tools only; nothing to honour.
    Informative,
    /// Read by the compiler itself under its name.
    Compiler,
}

/// Yes and no where a directive's default is yes.
const YES_NO: &[(&str, u64)] =
    &[("yes", 1), ("true", 1), ("on", 1), ("1", 1), ("no", 0), ("false", 0), ("off", 0), ("0", 0)];

/// How a value becomes what is written into a cgroup file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupValue {
    /// Bytes or `max` for infinity.
    Bytes,
    /// A count or `max`.
    Count,
    /// A weight of 1..10000.
    Weight,
    /// A percentage of one CPU to `quota period`.
    CpuQuota,
    /// CPUs: numbers and ranges.
    CpuList,
}

use Rule::{
    Capabilities, Cgroup, Choice, Commands, Compiler, Condition, Flag, FlagOnNo, Informative, Limit, Mode,
    Number, Offset, OptionalPaths, Sandbox, SandboxOr, Signal, Statuses, Stream, Tagged, Text, Time, Times,
    Units, Words,
};

/// Directives of `[Unit]`.
const UNIT: &[(&str, Rule)] = &[
    ("Description", Text(Key::Description)),
    ("Documentation", Informative),
    ("SourcePath", Informative),
    ("CollectMode", Informative),
    ("Requires", Units(Key::Requires)),
    ("Requisite", Units(Key::Requisite)),
    ("Wants", Units(Key::Wants)),
    ("BindsTo", Units(Key::BindsTo)),
    ("PartOf", Units(Key::PartOf)),
    ("Upholds", Units(Key::Upholds)),
    ("Conflicts", Units(Key::Conflicts)),
    ("Before", Units(Key::Before)),
    ("After", Units(Key::After)),
    ("JoinsNamespaceOf", Units(Key::JoinsNamespaceOf)),
    ("OnFailure", Units(Key::OnFailure)),
    ("OnSuccess", Units(Key::OnSuccess)),
    ("PropagatesReloadTo", Units(Key::PropagatesReloadTo)),
    ("PropagatesStopTo", Units(Key::PropagatesStopTo)),
    ("ReloadPropagatedFrom", Compiler),
    ("StopPropagatedFrom", Compiler),
    ("RequiresMountsFor", Compiler),
    ("WantsMountsFor", Compiler),
    ("DefaultDependencies", FlagOnNo(flag::NO_DEFAULT_DEPENDENCIES)),
    ("StopWhenUnneeded", Flag(flag::STOP_WHEN_UNNEEDED)),
    ("RefuseManualStart", Flag(flag::REFUSE_MANUAL_START)),
    ("RefuseManualStop", Flag(flag::REFUSE_MANUAL_STOP)),
    ("AllowIsolate", Informative),
    ("IgnoreOnIsolate", Informative),
    ("StartLimitIntervalSec", Time(Key::StartLimitInterval)),
    ("StartLimitInterval", Time(Key::StartLimitInterval)),
    ("StartLimitBurst", Number(Key::StartLimitBurst)),
    ("JobTimeoutSec", Time(Key::JobTimeout)),
    ("JobRunningTimeoutSec", Time(Key::JobRunningTimeout)),
    ("X-Restart-Triggers", Compiler),
    ("X-Reload-Triggers", Compiler),
    ("X-RestartIfChanged", FlagOnNo(flag::NO_RESTART_IF_CHANGED)),
    ("X-ReloadIfChanged", Flag(flag::RELOAD_IF_CHANGED)),
    ("X-StopIfChanged", FlagOnNo(flag::NO_STOP_IF_CHANGED)),
    ("X-StopOnRemoval", FlagOnNo(flag::KEEP_ON_REMOVAL)),
    ("X-StopOnReconfiguration", Flag(flag::STOP_ON_RECONFIGURATION)),
    ("X-OnlyManualStart", Flag(flag::ONLY_MANUAL_START)),
    ("X-NotSocketActivated", Flag(flag::NOT_SOCKET_ACTIVATED)),
];

/// Conditions, by the part of the name after `Condition` or `Assert`.
const CONDITIONS: &[(&str, u32)] = &[
    ("PathExists", condition::PATH_EXISTS),
    ("PathExistsGlob", condition::PATH_EXISTS_GLOB),
    ("PathIsDirectory", condition::PATH_IS_DIRECTORY),
    ("PathIsSymbolicLink", condition::PATH_IS_SYMBOLIC_LINK),
    ("PathIsMountPoint", condition::PATH_IS_MOUNT_POINT),
    ("PathIsReadWrite", condition::PATH_IS_READ_WRITE),
    ("DirectoryNotEmpty", condition::DIRECTORY_NOT_EMPTY),
    ("FileNotEmpty", condition::FILE_NOT_EMPTY),
    ("FileIsExecutable", condition::FILE_IS_EXECUTABLE),
    ("KernelCommandLine", condition::KERNEL_COMMAND_LINE),
    ("Virtualization", condition::VIRTUALIZATION),
    ("Capability", condition::CAPABILITY),
    ("User", condition::USER),
    ("FirstBoot", condition::FIRST_BOOT),
    ("Host", condition::HOST),
    ("Architecture", condition::ARCHITECTURE),
    ("ACPower", condition::AC_POWER),
    ("NeedsUpdate", condition::NEEDS_UPDATE),
    ("Security", condition::SECURITY),
];

/// Directives of `[Service]` that are about the service, not the process.
const SERVICE: &[(&str, Rule)] = &[
    (
        "Type",
        Choice(
            Key::Type,
            &[
                ("simple", key::service_type::SIMPLE),
                ("exec", key::service_type::EXEC),
                ("forking", key::service_type::FORKING),
                ("oneshot", key::service_type::ONESHOT),
                ("dbus", key::service_type::DBUS),
                ("notify", key::service_type::NOTIFY),
                ("notify-reload", key::service_type::NOTIFY_RELOAD),
                ("idle", key::service_type::IDLE),
            ],
        ),
    ),
    (
        "Restart",
        Choice(
            Key::Restart,
            &[
                ("no", key::restart::NO),
                ("on-success", key::restart::ON_SUCCESS),
                ("on-failure", key::restart::ON_FAILURE),
                ("on-abnormal", key::restart::ON_ABNORMAL),
                ("on-watchdog", key::restart::ON_WATCHDOG),
                ("on-abort", key::restart::ON_ABORT),
                ("always", key::restart::ALWAYS),
            ],
        ),
    ),
    ("RestartSec", Time(Key::RestartSec)),
    ("RestartSteps", Number(Key::RestartSteps)),
    ("RestartMaxDelaySec", Time(Key::RestartMaxDelay)),
    ("TimeoutStartSec", Time(Key::TimeoutStart)),
    ("TimeoutStopSec", Time(Key::TimeoutStop)),
    ("TimeoutSec", Compiler),
    ("RuntimeMaxSec", Time(Key::RuntimeMax)),
    ("WatchdogSec", Time(Key::Watchdog)),
    ("StartLimitInterval", Time(Key::StartLimitInterval)),
    ("StartLimitBurst", Number(Key::StartLimitBurst)),
    ("RemainAfterExit", Flag(flag::REMAIN_AFTER_EXIT)),
    ("PIDFile", Text(Key::PidFile)),
    ("BusName", Text(Key::BusName)),
    (
        "NotifyAccess",
        Choice(
            Key::NotifyAccess,
            &[
                ("none", key::notify_access::NONE),
                ("main", key::notify_access::MAIN),
                ("exec", key::notify_access::EXEC),
                ("all", key::notify_access::ALL),
            ],
        ),
    ),
    ("SuccessExitStatus", Statuses(Key::SuccessExitStatus)),
    ("RestartPreventExitStatus", Statuses(Key::RestartPreventExitStatus)),
    ("RestartForceExitStatus", Statuses(Key::RestartForceExitStatus)),
    ("ExecCondition", Commands(Key::ExecCondition)),
    ("ExecStartPre", Commands(Key::ExecStartPre)),
    ("ExecStart", Commands(Key::ExecStart)),
    ("ExecStartPost", Commands(Key::ExecStartPost)),
    ("ExecReload", Commands(Key::ExecReload)),
    ("ExecStop", Commands(Key::ExecStop)),
    ("ExecStopPost", Commands(Key::ExecStopPost)),
    ("GuessMainPID", FlagOnNo(flag::NO_GUESS_MAIN_PID)),
    ("OOMPolicy", Compiler),
    ("Sockets", Units(Key::Sockets)),
    ("PermissionsStartOnly", Flag(flag::PERMISSIONS_START_ONLY)),
];

/// LogLevelMax= and its kin (syslog(3)).
const LOG_LEVELS: &[(&str, u64)] = &[
    ("emerg", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("warning", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];

/// Directives about processes and their environment: systemd.exec(5), systemd.kill(5), systemd.resource-control(5).
const EXEC: &[(&str, Rule)] = &[
    ("User", Text(Key::User)),
    ("Group", Text(Key::Group)),
    ("SupplementaryGroups", Words(Key::SupplementaryGroups)),
    ("WorkingDirectory", Compiler),
    ("Environment", Words(Key::Environment)),
    ("EnvironmentFile", OptionalPaths(Key::EnvironmentFiles)),
    ("UnsetEnvironment", Words(Key::UnsetEnvironment)),
    ("UMask", Mode(Key::UMask)),
    ("Nice", Offset(Key::Nice, 20, -20, 19)),
    ("OOMScoreAdjust", Offset(Key::OomScoreAdjust, 1000, -1000, 1000)),
    ("LimitCPU", Limit(0, false)),
    ("LimitFSIZE", Limit(1, true)),
    ("LimitDATA", Limit(2, true)),
    ("LimitSTACK", Limit(3, true)),
    ("LimitCORE", Limit(4, true)),
    ("LimitRSS", Limit(5, true)),
    ("LimitNPROC", Limit(6, false)),
    ("LimitNOFILE", Limit(7, false)),
    ("LimitMEMLOCK", Limit(8, true)),
    ("LimitAS", Limit(9, true)),
    ("LimitLOCKS", Limit(10, false)),
    ("LimitSIGPENDING", Limit(11, false)),
    ("LimitMSGQUEUE", Limit(12, true)),
    ("LimitNICE", Limit(13, false)),
    ("LimitRTPRIO", Limit(14, false)),
    ("LimitRTTIME", Limit(15, false)),
    ("StandardInput", Stream(Key::StandardInput)),
    ("StandardOutput", Stream(Key::StandardOutput)),
    ("StandardError", Stream(Key::StandardError)),
    ("TTYPath", Text(Key::TtyPath)),
    ("TTYReset", Flag(flag::TTY_RESET)),
    ("TTYVHangup", Flag(flag::TTY_VHANGUP)),
    ("TTYVTDisallocate", Flag(flag::TTY_VT_DISALLOCATE)),
    ("SyslogIdentifier", Text(Key::SyslogIdentifier)),
    ("SyslogLevel", Choice(Key::SyslogLevel, LOG_LEVELS)),
    ("SyslogLevelPrefix", Choice(Key::SyslogLevelPrefix, YES_NO)),
    ("LogRateLimitIntervalSec", Time(Key::LogRateLimitInterval)),
    ("LogRateLimitBurst", Number(Key::LogRateLimitBurst)),
    ("UtmpIdentifier", Informative),
    ("UtmpMode", Informative),
    ("IgnoreSIGPIPE", FlagOnNo(flag::KEEP_SIGPIPE)),
    ("NoNewPrivileges", Flag(flag::NO_NEW_PRIVILEGES)),
    ("CapabilityBoundingSet", Capabilities(Key::CapabilityBoundingSet)),
    ("AmbientCapabilities", Capabilities(Key::AmbientCapabilities)),
    ("RuntimeDirectory", Words(Key::RuntimeDirectory)),
    ("RuntimeDirectoryMode", Mode(Key::RuntimeDirectoryMode)),
    (
        "RuntimeDirectoryPreserve",
        Choice(Key::RuntimeDirectoryPreserve, &[("no", 0), ("restart", 1), ("yes", 2)]),
    ),
    ("StateDirectory", Words(Key::StateDirectory)),
    ("StateDirectoryMode", Mode(Key::StateDirectoryMode)),
    ("CacheDirectory", Words(Key::CacheDirectory)),
    ("CacheDirectoryMode", Mode(Key::CacheDirectoryMode)),
    ("LogsDirectory", Words(Key::LogsDirectory)),
    ("LogsDirectoryMode", Mode(Key::LogsDirectoryMode)),
    ("ConfigurationDirectory", Words(Key::ConfigurationDirectory)),
    ("ConfigurationDirectoryMode", Mode(Key::ConfigurationDirectoryMode)),
    (
        "KillMode",
        Choice(
            Key::KillMode,
            &[
                ("control-group", key::kill_mode::CONTROL_GROUP),
                ("mixed", key::kill_mode::MIXED),
                ("process", key::kill_mode::PROCESS),
                ("none", key::kill_mode::NONE),
            ],
        ),
    ),
    ("KillSignal", Signal(Key::KillSignal)),
    ("FinalKillSignal", Signal(Key::FinalKillSignal)),
    ("RestartKillSignal", Signal(Key::RestartKillSignal)),
    ("WatchdogSignal", Signal(Key::WatchdogSignal)),
    ("NonBlocking", Flag(flag::NON_BLOCKING)),
    ("ReloadSignal", Signal(Key::ReloadSignal)),
    ("SendSIGHUP", Flag(flag::SEND_SIGHUP)),
    ("SendSIGKILL", FlagOnNo(flag::NO_SIGKILL)),
    ("Slice", Text(Key::Slice)),
    ("MemoryMax", Cgroup("memory.max", CgroupValue::Bytes)),
    ("MemoryHigh", Cgroup("memory.high", CgroupValue::Bytes)),
    ("MemoryMin", Cgroup("memory.min", CgroupValue::Bytes)),
    ("MemoryLow", Cgroup("memory.low", CgroupValue::Bytes)),
    ("MemorySwapMax", Cgroup("memory.swap.max", CgroupValue::Bytes)),
    ("TasksMax", Cgroup("pids.max", CgroupValue::Count)),
    ("CPUWeight", Cgroup("cpu.weight", CgroupValue::Weight)),
    ("IOWeight", Cgroup("io.weight", CgroupValue::Weight)),
    ("CPUQuota", Cgroup("cpu.max", CgroupValue::CpuQuota)),
    ("MemoryAccounting", Informative),
    ("CPUAccounting", Informative),
    ("IOAccounting", Informative),
    ("TasksAccounting", Informative),
    ("IPAccounting", Informative),
    ("Delegate", Flag(flag::DELEGATE)),
    ("AllowedCPUs", Cgroup("cpuset.cpus", CgroupValue::CpuList)),
    ("PrivateTmp", SandboxOr(sandbox::PRIVATE_TMP, &[("disconnected", sandbox::TMP_IS_DISCONNECTED)])),
    ("PrivateDevices", Sandbox(sandbox::PRIVATE_DEVICES)),
    ("PrivateUsers", SandboxOr(sandbox::PRIVATE_USERS, &[("self", 0)])),
    ("ProtectKernelModules", Sandbox(sandbox::PROTECT_KERNEL_MODULES)),
    ("ProtectKernelTunables", Sandbox(sandbox::PROTECT_KERNEL_TUNABLES)),
    ("ProtectKernelLogs", Sandbox(sandbox::PROTECT_KERNEL_LOGS)),
    ("ProtectClock", Sandbox(sandbox::PROTECT_CLOCK)),
    ("ProtectHostname", SandboxOr(sandbox::PROTECT_HOSTNAME, &[("private", 0)])),
    ("LockPersonality", Sandbox(sandbox::LOCK_PERSONALITY)),
    ("MemoryDenyWriteExecute", Sandbox(sandbox::MEMORY_DENY_WRITE_EXECUTE)),
    ("RestrictRealtime", Sandbox(sandbox::RESTRICT_REALTIME)),
    ("RestrictSUIDSGID", Sandbox(sandbox::RESTRICT_SUID_SGID)),
    ("RemoveIPC", Sandbox(sandbox::REMOVE_IPC)),
    ("MountAPIVFS", Sandbox(sandbox::MOUNT_API_VFS)),
    (
        "ProtectProc",
        Choice(Key::ProtectProc, &[("default", 0), ("noaccess", 1), ("invisible", 2), ("ptraceable", 3)]),
    ),
    ("ProcSubset", Compiler),
    ("SystemCallFilter", Compiler),
    ("SystemCallErrorNumber", Compiler),
    ("SystemCallArchitectures", Compiler),
    ("RestrictAddressFamilies", Compiler),
    ("RestrictNamespaces", Compiler),
    ("DynamicUser", Flag(flag::DYNAMIC_USER)),
    ("SecureBits", Compiler),
    ("KeyringMode", Choice(Key::KeyringMode, &[("inherit", 0), ("private", 1), ("shared", 2)])),
    ("LoadCredential", Compiler),
    ("SetCredential", Compiler),
    ("PassEnvironment", Words(Key::PassEnvironment)),
    ("IOSchedulingClass", Compiler),
    ("IOSchedulingPriority", Compiler),
    ("CPUSchedulingPolicy", Compiler),
    ("CPUSchedulingPriority", Compiler),
    ("CPUSchedulingResetOnFork", Compiler),
    ("CPUAffinity", Compiler),
    ("TimerSlackNSec", Compiler),
    ("LogLevelMax", Choice(Key::LogLevelMax, LOG_LEVELS)),
    ("DevicePolicy", Choice(Key::DevicePolicy, &[("auto", 0), ("closed", 1), ("strict", 2)])),
    ("IPAddressAllow", Compiler),
    ("IPAddressDeny", Compiler),
    ("SocketBindAllow", Compiler),
    ("SocketBindDeny", Compiler),
    ("DeviceAllow", Compiler),
    ("BindPaths", Words(Key::BindPaths)),
    ("BindReadOnlyPaths", Words(Key::BindReadOnlyPaths)),
    ("TemporaryFileSystem", Words(Key::TemporaryFileSystem)),
    ("ExecPaths", OptionalPaths(Key::ExecPaths)),
    ("NoExecPaths", OptionalPaths(Key::NoExecPaths)),
    ("PrivateNetwork", Sandbox(sandbox::PRIVATE_NETWORK)),
    ("PrivateMounts", Sandbox(sandbox::PRIVATE_MOUNTS)),
    ("PrivateIPC", Sandbox(sandbox::PRIVATE_IPC)),
    ("ProtectControlGroups", SandboxOr(sandbox::PROTECT_CONTROL_GROUPS, &[("strict", 0), ("private", 0)])),
    (
        "ProtectSystem",
        Choice(
            Key::ProtectSystem,
            &[("no", 0), ("false", 0), ("yes", 1), ("true", 1), ("full", 2), ("strict", 3)],
        ),
    ),
    (
        "ProtectHome",
        Choice(
            Key::ProtectHome,
            &[("no", 0), ("false", 0), ("yes", 1), ("true", 1), ("read-only", 2), ("tmpfs", 3)],
        ),
    ),
    // Their names until systemd 231.
    ("ReadWriteDirectories", OptionalPaths(Key::ReadWritePaths)),
    ("ReadOnlyDirectories", OptionalPaths(Key::ReadOnlyPaths)),
    ("InaccessibleDirectories", OptionalPaths(Key::InaccessiblePaths)),
    ("ReadWritePaths", OptionalPaths(Key::ReadWritePaths)),
    ("ReadOnlyPaths", OptionalPaths(Key::ReadOnlyPaths)),
    ("InaccessiblePaths", OptionalPaths(Key::InaccessiblePaths)),
];

/// Directives of `[Install]`.
const INSTALL: &[(&str, Rule)] = &[
    ("WantedBy", Compiler),
    ("RequiredBy", Compiler),
    ("UpheldBy", Compiler),
    ("Alias", Words(Key::Aliases)),
    ("Also", Informative),
    ("DefaultInstance", Informative),
];

/// Directives of `[Mount]`.
const MOUNT: &[(&str, Rule)] = &[
    ("What", Text(Key::MountWhat)),
    ("Where", Text(Key::MountWhere)),
    ("Type", Text(Key::MountType)),
    ("Options", Text(Key::MountOptions)),
    ("DirectoryMode", Mode(Key::DirectoryMode)),
    ("TimeoutSec", Compiler),
];

/// Directives of `[Swap]`.
const SWAP: &[(&str, Rule)] =
    &[("What", Text(Key::MountWhat)), ("Priority", Compiler), ("Options", Text(Key::MountOptions))];

/// Directives of `[Socket]`.
const SOCKET: &[(&str, Rule)] = &[
    ("ListenStream", Tagged(Key::Listen, listen::STREAM)),
    ("ListenDatagram", Tagged(Key::Listen, listen::DATAGRAM)),
    ("ListenSequentialPacket", Tagged(Key::Listen, listen::SEQPACKET)),
    ("ListenFIFO", Tagged(Key::Listen, listen::FIFO)),
    ("SocketMode", Mode(Key::SocketMode)),
    ("SocketUser", Text(Key::SocketUser)),
    ("SocketGroup", Text(Key::SocketGroup)),
    ("DirectoryMode", Mode(Key::DirectoryMode)),
    ("Backlog", Number(Key::Backlog)),
    ("FileDescriptorName", Text(Key::FileDescriptorName)),
    ("RemoveOnStop", Flag(flag::REMOVE_ON_STOP)),
    ("Accept", Flag(flag::ACCEPT)),
    ("MaxConnections", Number(Key::MaxConnections)),
    ("MaxConnectionsPerSource", Number(Key::MaxConnectionsPerSource)),
    ("FlushPending", Flag(flag::FLUSH_PENDING)),
    ("Symlinks", Words(Key::Symlinks)),
    ("FreeBind", Flag(flag::FREE_BIND)),
    ("ReusePort", Flag(flag::REUSE_PORT)),
    ("BindIPv6Only", Choice(Key::BindIpv6Only, &[("default", 0), ("both", 1), ("ipv6-only", 2)])),
    ("TriggerLimitIntervalSec", Time(Key::TriggerLimitInterval)),
    ("TriggerLimitBurst", Number(Key::TriggerLimitBurst)),
    ("Service", Compiler),
];

/// Directives of `[Timer]`.
const TIMER: &[(&str, Rule)] = &[
    ("OnCalendar", Compiler),
    ("OnActiveSec", Times(Key::OnActive)),
    ("OnBootSec", Times(Key::OnBoot)),
    ("OnStartupSec", Times(Key::OnStartup)),
    ("OnUnitActiveSec", Times(Key::OnUnitActive)),
    ("OnUnitInactiveSec", Times(Key::OnUnitInactive)),
    ("AccuracySec", Time(Key::AccuracySec)),
    ("RandomizedDelaySec", Time(Key::RandomizedDelaySec)),
    ("OnClockChange", Flag(flag::ON_CLOCK_CHANGE)),
    ("OnTimezoneChange", Flag(flag::ON_TIMEZONE_CHANGE)),
    ("Persistent", Flag(flag::PERSISTENT)),
    ("FixedRandomDelay", Flag(flag::FIXED_RANDOM_DELAY)),
    ("Unit", Compiler),
];

/// Directives of `[Path]`.
const PATH: &[(&str, Rule)] = &[
    ("PathExists", Tagged(Key::PathWatches, path_watch::EXISTS)),
    ("PathExistsGlob", Tagged(Key::PathWatches, path_watch::EXISTS_GLOB)),
    ("PathChanged", Tagged(Key::PathWatches, path_watch::CHANGED)),
    ("PathModified", Tagged(Key::PathWatches, path_watch::MODIFIED)),
    ("DirectoryNotEmpty", Tagged(Key::PathWatches, path_watch::DIRECTORY_NOT_EMPTY)),
    ("TriggerLimitIntervalSec", Time(Key::TriggerLimitInterval)),
    ("TriggerLimitBurst", Number(Key::TriggerLimitBurst)),
    ("MakeDirectory", Flag(flag::MAKE_DIRECTORY)),
    ("DirectoryMode", Mode(Key::DirectoryMode)),
    ("Unit", Compiler),
];

/// What systemd knows and Firn does not do yet: refused by this name, not as a misspelling.
pub const KNOWN_BUT_NOT_HONOURED: &[&str] = &[
    "OnFailureJobMode",
    "OnSuccessJobMode",
    "JobTimeoutAction",
    "StartLimitAction",
    "FailureAction",
    "SuccessAction",
    "RebootArgument",
    "TimeoutAbortSec",
    "TimeoutStartFailureMode",
    "TimeoutStopFailureMode",
    "RuntimeRandomizedExtraSec",
    "RestartMode",
    "RootDirectoryStartOnly",
    "FileDescriptorStoreMax",
    "OpenFile",
    "RootDirectory",
    "RootImage",
    "ExecSearchPath",
    "MountFlags",
    "ConditionKernelVersion",
    "AssertKernelVersion",
    "PAMName",
    "SystemCallLog",
    "PrivatePIDs",
    "Personality",
    "LoadCredentialEncrypted",
    "SetCredentialEncrypted",
    "ImportCredential",
    "NUMAPolicy",
    "LogExtraFields",
    "SyslogFacility",
    "TTYRows",
    "TTYColumns",
    "NFTSet",
    "StartupCPUWeight",
    "IODeviceWeight",
    "IOReadBandwidthMax",
    "IOWriteBandwidthMax",
    "ManagedOOMSwap",
    "ManagedOOMMemoryPressure",
    "ManagedOOMMemoryPressureLimit",
    "StandardInputText",
    "StandardInputData",
    "NetworkNamespacePath",
    "ListenSpecial",
    "ListenNetlink",
    "ListenMessageQueue",
    "PassCredentials",
    "KeepAlive",
    "NoDelay",
    "Broadcast",
    "WakeSystem",
    "RemainAfterElapse",
    "SloppyOptions",
    "LazyUnmount",
    "ReadWriteOnly",
    "ForceUnmount",
];

/// The tables that a section's directives come from, for a kind of unit.
fn tables(section: &str) -> &'static [&'static [(&'static str, Rule)]] {
    match section {
        "Unit" => &[UNIT],
        "Install" => &[INSTALL],
        "Service" => &[SERVICE, EXEC],
        "Mount" => &[MOUNT],
        "Swap" => &[SWAP],
        "Socket" => &[SOCKET, EXEC],
        "Slice" => &[EXEC],
        "Timer" => &[TIMER],
        "Path" => &[PATH],
        _ => &[],
    }
}

/// The rule of a directive.
pub fn rule(section: &str, directive: &str) -> Option<Rule> {
    if section == "Unit" {
        for (prefix, key) in [("Condition", Key::Conditions), ("Assert", Key::Asserts)] {
            if let Some(name) = directive.strip_prefix(prefix) {
                let found = CONDITIONS.iter().find(|(known, _)| *known == name);
                return found.map(|(_, code)| Condition(key, *code));
            }
        }
    }
    tables(section)
        .iter()
        .flat_map(|table| table.iter())
        .find(|(name, _)| *name == directive)
        .map(|(_, rule)| *rule)
}

/// Every directive of a section that Firn honours.
pub fn names(section: &str) -> Vec<String> {
    let mut names: Vec<String> =
        tables(section).iter().flat_map(|table| table.iter()).map(|(name, _)| (*name).to_owned()).collect();
    if section == "Unit" {
        for (name, _) in CONDITIONS {
            names.extend([format!("Condition{name}"), format!("Assert{name}")]);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_not_also_honoured() {
        for section in ["Unit", "Install", "Service", "Mount", "Swap", "Socket", "Timer", "Path"] {
            for name in KNOWN_BUT_NOT_HONOURED {
                assert!(rule(section, name).is_none(), "[{section}] {name}");
            }
        }
    }
}
