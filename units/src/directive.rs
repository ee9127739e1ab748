//! The table of directives: for each section what Firn honours and how its value becomes a setting of the graph. A
//! directive that is not here is a fault; one that systemd has ([`known()`]) is refused by name, as what a unit asks for must
//! not be dropped silently.

mod known;
mod process;

pub use known::{is_known, known};

use process::{ADDRESSES, BINDING, DEVICES, EXEC, KILL, PLACE, RESOURCES};

use formats::control::Shutdown;
use formats::service_graph::key::{self, Key, condition, flag, listen, path_watch};

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
    Choice, Commands, Compiler, Condition, Flag, FlagOnNo, Informative, Mode, Number, Signal, Statuses,
    Tagged, Text, Time, Times, Units, Words,
};

/// What may be done to the machine when something happens to a unit (systemd.unit(5), FailureAction=). To exit is, for process 1, to
/// power off.
const ACTIONS: &[(&str, u64)] = &[
    ("none", 0),
    ("reboot", Shutdown::Reboot as u64),
    ("reboot-force", Shutdown::Reboot as u64 | key::action::FORCE),
    ("reboot-immediate", Shutdown::Reboot as u64 | key::action::FORCE),
    ("poweroff", Shutdown::PowerOff as u64),
    ("poweroff-force", Shutdown::PowerOff as u64 | key::action::FORCE),
    ("poweroff-immediate", Shutdown::PowerOff as u64 | key::action::FORCE),
    ("exit", Shutdown::PowerOff as u64),
    ("exit-force", Shutdown::PowerOff as u64 | key::action::FORCE),
    ("halt", Shutdown::Halt as u64),
    ("halt-force", Shutdown::Halt as u64 | key::action::FORCE),
    ("halt-immediate", Shutdown::Halt as u64 | key::action::FORCE),
    ("kexec", Shutdown::Kexec as u64),
    ("kexec-force", Shutdown::Kexec as u64 | key::action::FORCE),
    ("soft-reboot", Shutdown::SoftReboot as u64),
    ("soft-reboot-force", Shutdown::SoftReboot as u64 | key::action::FORCE),
];

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
    ("FailureAction", Choice(Key::FailureAction, ACTIONS)),
    ("SuccessAction", Choice(Key::SuccessAction, ACTIONS)),
    ("StartLimitAction", Choice(Key::StartLimitAction, ACTIONS)),
    ("JobTimeoutAction", Choice(Key::JobTimeoutAction, ACTIONS)),
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
    ("RestartMode", Compiler),
    ("StartLimitAction", Choice(Key::StartLimitAction, ACTIONS)),
    ("FailureAction", Choice(Key::FailureAction, ACTIONS)),
    ("RootDirectoryStartOnly", Flag(flag::ROOT_DIRECTORY_START_ONLY)),
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
    ("NonBlocking", Flag(flag::NON_BLOCKING)),
    ("ReloadSignal", Signal(Key::ReloadSignal)),
    ("Delegate", Compiler),
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
const SWAP: &[(&str, Rule)] = &[
    ("What", Text(Key::MountWhat)),
    ("Priority", Compiler),
    ("Options", Text(Key::MountOptions)),
    ("TimeoutSec", Compiler),
];

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
    ("ExecStartPre", Commands(Key::ExecStartPre)),
    ("ExecStartPost", Commands(Key::ExecStartPost)),
    ("ExecStopPre", Commands(Key::ExecStop)),
    ("ExecStopPost", Commands(Key::ExecStopPost)),
    ("TimeoutSec", Compiler),
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

/// The tables that a section's directives come from, for a kind of unit.
fn tables(section: &str) -> &'static [&'static [(&'static str, Rule)]] {
    match section {
        "Unit" => &[UNIT],
        "Install" => &[INSTALL],
        "Service" => &[SERVICE, EXEC, KILL, RESOURCES, PLACE, DEVICES, ADDRESSES, BINDING],
        "Socket" => &[SOCKET, EXEC, KILL, RESOURCES, PLACE, DEVICES],
        // Firn mounts and swaps by itself, without a program that the others could be about.
        "Mount" => &[MOUNT, RESOURCES, PLACE],
        "Swap" => &[SWAP, RESOURCES, PLACE],
        "Slice" => &[RESOURCES, ADDRESSES],
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

    const SECTIONS: [&str; 9] =
        ["Unit", "Install", "Service", "Socket", "Mount", "Swap", "Slice", "Timer", "Path"];

    /// Everything that systemd has anywhere, in every section: honoured or refused by name where systemd has it, no directive
    /// where it has not.
    #[test]
    fn a_section_takes_what_systemd_takes_there() {
        let all: Vec<&str> = SECTIONS.into_iter().flat_map(known).collect();
        assert!(all.len() > 1200, "{}", all.len());
        let mut checked = 0;
        for section in SECTIONS {
            for name in &all {
                let of_systemd = is_known(section, name);
                assert!(
                    of_systemd || rule(section, name).is_none(),
                    "[{section}] {name} is none of systemd's"
                );
                checked += 1;
            }
            for name in names(section) {
                assert!(is_known(section, &name) || name.starts_with("X-"), "[{section}] {name}");
            }
        }
        assert!(checked > 10_000);
    }

    #[test]
    fn what_is_about_processes_is_refused_where_there_are_none() {
        for (section, name, expected) in [
            ("Slice", "User", (false, false)),
            ("Slice", "KillMode", (false, false)),
            ("Slice", "Slice", (true, false)),
            ("Slice", "MemoryMax", (true, true)),
            ("Slice", "IPAddressDeny", (true, true)),
            ("Slice", "DevicePolicy", (true, false)),
            ("Timer", "CPUWeight", (false, false)),
            ("Mount", "Environment", (true, false)),
            ("Mount", "TasksMax", (true, true)),
            ("Socket", "User", (true, true)),
            ("Socket", "Delegate", (true, false)),
            ("Service", "PAMName", (true, false)),
        ] {
            assert_eq!(
                (is_known(section, name), rule(section, name).is_some()),
                expected,
                "[{section}] {name}"
            );
        }
    }
}
