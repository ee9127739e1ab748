//! Directives that several kinds of units have: those of their processes (systemd.exec(5)), of how these are ended (systemd.kill(5)) and of
//! what the unit's cgroup may use (systemd.resource-control(5)).

use super::Rule::{
    Capabilities, Cgroup, Choice, Compiler, Flag, FlagOnNo, Informative, Limit, Mode, Number, Offset,
    OptionalPaths, Sandbox, SandboxOr, Signal, Stream, Text, Time, Words,
};
use super::{CgroupValue, Rule, YES_NO};
use formats::service_graph::key::{self, Key, flag, sandbox};

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

/// Directives about processes and their environment (systemd.exec(5)).
pub(super) const EXEC: &[(&str, Rule)] = &[
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
    ("PrivateTmp", SandboxOr(sandbox::PRIVATE_TMP, &[("disconnected", sandbox::TMP_IS_DISCONNECTED)])),
    ("PrivateDevices", Sandbox(sandbox::PRIVATE_DEVICES)),
    (
        "PrivateUsers",
        SandboxOr(sandbox::PRIVATE_USERS, &[("self", 0), ("identity", sandbox::IDENTITY_USERS)]),
    ),
    ("ProtectKernelModules", Sandbox(sandbox::PROTECT_KERNEL_MODULES)),
    ("ProtectKernelTunables", Sandbox(sandbox::PROTECT_KERNEL_TUNABLES)),
    ("ProtectKernelLogs", Sandbox(sandbox::PROTECT_KERNEL_LOGS)),
    ("ProtectClock", Sandbox(sandbox::PROTECT_CLOCK)),
    ("ProtectHostname", SandboxOr(sandbox::PROTECT_HOSTNAME, &[("private", sandbox::PRIVATE_HOSTNAME)])),
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
    ("RootDirectory", Text(Key::RootDirectory)),
    ("ImportCredential", Compiler),
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
    ("BindPaths", Words(Key::BindPaths)),
    ("BindReadOnlyPaths", Words(Key::BindReadOnlyPaths)),
    ("TemporaryFileSystem", Words(Key::TemporaryFileSystem)),
    ("ExecPaths", OptionalPaths(Key::ExecPaths)),
    ("NoExecPaths", OptionalPaths(Key::NoExecPaths)),
    ("PrivateNetwork", Sandbox(sandbox::PRIVATE_NETWORK)),
    ("PrivateMounts", Sandbox(sandbox::PRIVATE_MOUNTS)),
    ("PrivateIPC", Sandbox(sandbox::PRIVATE_IPC)),
    (
        "ProtectControlGroups",
        SandboxOr(
            sandbox::PROTECT_CONTROL_GROUPS,
            &[
                ("strict", sandbox::PRIVATE_CONTROL_GROUPS),
                ("private", sandbox::PRIVATE_CONTROL_GROUPS | sandbox::CONTROL_GROUPS_ARE_WRITABLE),
            ],
        ),
    ),
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

/// How processes are ended.
pub(super) const KILL: &[(&str, Rule)] = &[
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
    ("SendSIGHUP", Flag(flag::SEND_SIGHUP)),
    ("SendSIGKILL", FlagOnNo(flag::NO_SIGKILL)),
];

/// What a cgroup may use.
pub(super) const RESOURCES: &[(&str, Rule)] = &[
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
    ("AllowedCPUs", Cgroup("cpuset.cpus", CgroupValue::CpuList)),
];

/// In which slice the unit's cgroup lies; a slice's own place follows from its name.
pub(super) const PLACE: &[(&str, Rule)] = &[("Slice", Text(Key::Slice))];

/// Which devices processes may open.
pub(super) const DEVICES: &[(&str, Rule)] = &[
    ("DevicePolicy", Choice(Key::DevicePolicy, &[("auto", 0), ("closed", 1), ("strict", 2)])),
    ("DeviceAllow", Compiler),
];

/// With whom they may speak; a slice's lists count for the services in it.
pub(super) const ADDRESSES: &[(&str, Rule)] = &[("IPAddressAllow", Compiler), ("IPAddressDeny", Compiler)];

/// What their sockets may be bound to.
pub(super) const BINDING: &[(&str, Rule)] = &[("SocketBindAllow", Compiler), ("SocketBindDeny", Compiler)];
