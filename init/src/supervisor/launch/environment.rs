//! The variables that a process gets (systemd.exec(5), "Environment Variables in Spawned Processes") and the substitution of
//! variables in command lines (systemd.service(5), "Command lines").

use super::{DIRECTORIES, Identity, environment_file};
use crate::sorted_map::{SortedMap, sort_few};
use crate::supervisor::accounts::Account;
use formats::control::{CORE_DUMPED, NO_EXIT};
use formats::service_graph::key::{Key, command, flag, notify_access, service_type};
use formats::service_graph::view::{Command, Unit};
use nix::sys::signal::Signal;
use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;

/// Variables by name.
pub(super) type Variables = SortedMap<String, String>;

/// What the moment of the start adds.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// $MAINPID, 0 for none.
    pub main_pid: u32,
    /// $SERVICE_RESULT, $EXIT_CODE, $EXIT_STATUS for commands of the stop.
    pub result: Option<(&'static str, u32)>,
    /// $INVOCATION_ID.
    pub invocation: String,
    /// $LISTEN_FDNAMES.
    pub socket_names: String,
    /// $REMOTE_ADDR and $REMOTE_PORT.
    pub peer: Option<(String, u16)>,
}

/// A number, or a signal by its name without SIG, as systemd.exec(5) has it.
fn exit_status(status: u32) -> String {
    let signal = (status >= 256).then(|| Signal::try_from((status & 127) as i32).ok()).flatten();
    let name = signal.and_then(|signal| signal.as_str().strip_prefix("SIG"));
    name.map_or_else(|| (status & 255).to_string(), str::to_owned)
}

/// How the main process ended, as waitid(2) has it.
fn exit_code(status: u32) -> &'static str {
    match status {
        CORE_DUMPED.. => "dumped",
        256.. => "killed",
        _ => "exited",
    }
}

/// Names of programs that are no shells.
const NO_SHELLS: [&str; 4] = ["", "nologin", "false", "true"];

/// Whether that is a home: an absolute path and not the root.
fn has_home(path: &str) -> bool {
    path.starts_with('/') && !path.trim_matches('/').is_empty()
}

/// LANG and LC_* of locale.conf(5), for every service.
fn locale() -> Vec<(String, String)> {
    let text = std::fs::read_to_string("/etc/locale.conf").unwrap_or_default();
    let mut found = environment_file::read(&text);
    found.retain(|(name, _)| name == "LANG" || name == "LANGUAGE" || name.starts_with("LC_"));
    found
}

/// TERM for a terminal of that name.
fn terminal_type(path: &str) -> &'static str {
    if ["ttyS", "hvc", "ttyAMA"].iter().any(|serial| path.contains(serial)) { "vt220" } else { "linux" }
}

/// Whether a name is one that a variable can have.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// All variables of a process.
pub(super) fn variables(
    unit: &Unit<'_>,
    identity: &Identity,
    extra: &Extra,
    sockets: usize,
    journal: Option<BorrowedFd<'_>>,
) -> io::Result<Variables> {
    let mut variables = Variables::new();
    let mut set = |name: &str, value: String| {
        variables.insert(name.to_owned(), value);
    };
    set("PATH", "/run/wrappers/bin:/run/current-system/sw/bin:/run/current-system/sw/sbin".into());
    set("LANG", "C.UTF-8".into());
    for (name, value) in locale() {
        set(&name, value);
    }
    if let Some(account) = &identity.account {
        set_user(unit, account, &mut set);
    }
    if !extra.invocation.is_empty() {
        set("INVOCATION_ID", extra.invocation.clone());
    }
    // Device and inode, so that a program can tell that its output is logged, and speak to the journal's socket instead.
    if let Some(stat) = journal.and_then(|stream| nix::sys::stat::fstat(stream).ok()) {
        set("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    }
    if extra.main_pid != 0 {
        set("MAINPID", extra.main_pid.to_string());
    }
    if let Some((result, status)) = extra.result {
        set("SERVICE_RESULT", result.into());
        if status < NO_EXIT {
            set("EXIT_CODE", exit_code(status).into());
            set("EXIT_STATUS", exit_status(status));
        }
    }
    for (key, _, base, name) in DIRECTORIES {
        let mut paths: Vec<String> = unit
            .texts(key)
            .map(|path| format!("{base}/{}", path.split(':').next().unwrap_or(path)))
            .collect();
        sort_few(&mut paths, |one, other| one < other);
        if !paths.is_empty() {
            set(name, paths.join(":"));
        }
    }
    let notifies = matches!(unit.number(Key::Type), Some(service_type::NOTIFY | service_type::NOTIFY_RELOAD))
        || unit.number(Key::NotifyAccess).is_some_and(|access| access != notify_access::NONE)
        || unit.has(Key::Watchdog);
    if notifies {
        set("NOTIFY_SOCKET", "/run/firn/notify".into());
    }
    if let Some(span) = unit.number(Key::Watchdog).filter(|span| *span != 0) {
        set("WATCHDOG_USEC", span.to_string());
    }
    if sockets > 0 {
        set("LISTEN_FDS", sockets.to_string());
        set("LISTEN_FDNAMES", extra.socket_names.clone());
    }
    if let Some((address, port)) = &extra.peer {
        set("REMOTE_ADDR", address.clone());
        set("REMOTE_PORT", port.to_string());
    }
    if let Some(path) = unit.text(Key::TtyPath) {
        set("TERM", terminal_type(path).into());
    }
    if super::credentials::has_any(unit) {
        set("CREDENTIALS_DIRECTORY", super::credentials::directory_of(unit).display().to_string());
    }
    for name in unit.texts(Key::PassEnvironment) {
        if let Some(value) = own_variable(name) {
            set(name, value);
        }
    }
    for assignment in unit.texts(Key::Environment) {
        if let Some((name, value)) = assignment.split_once('=').filter(|(name, _)| is_name(name)) {
            set(name, value.to_owned());
        }
    }
    set_from_files(unit, &mut variables)?;
    unset(unit, &mut variables);
    Ok(variables)
}

/// USER, LOGNAME, HOME and SHELL. What says nothing is left out: a daemon's user has no home and no shell.
fn set_user(unit: &Unit<'_>, account: &Account, set: &mut impl FnMut(&str, String)) {
    set("USER", account.name.clone());
    set("LOGNAME", account.name.clone());
    let is_dynamic = unit.flag(flag::DYNAMIC_USER);
    if has_home(&account.home) && !is_dynamic && account.name != "nobody" {
        set("HOME", account.home.clone());
    }
    if !is_dynamic && !NO_SHELLS.contains(&account.shell.rsplit('/').next().unwrap_or_default()) {
        set("SHELL", account.shell.clone());
    }
}

/// A variable of ours that is passed on. systemd's process 1 has a TERM, that of the console.
fn own_variable(name: &str) -> Option<String> {
    std::env::var(name).ok().or_else(|| {
        let console = || std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        (name == "TERM").then(|| terminal_type(&console()).to_owned())
    })
}

/// EnvironmentFile=, whose files override what is written in the unit.
fn set_from_files(unit: &Unit<'_>, variables: &mut Variables) -> io::Result<()> {
    for (is_optional, pattern) in unit.tagged(Key::EnvironmentFiles) {
        for path in crate::glob::paths(pattern) {
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    for (name, value) in environment_file::read(&text) {
                        if is_name(&name) {
                            variables.insert(name, value);
                        }
                    }
                }
                Err(_) if is_optional != 0 => {}
                Err(error) => {
                    return Err(io::Error::new(error.kind(), format!("cannot read {path}: {error}")));
                }
            }
        }
    }
    Ok(())
}

/// UnsetEnvironment= takes away what all others have set: a name, or a name with exactly that value.
fn unset(unit: &Unit<'_>, variables: &mut Variables) {
    for wanted in unit.texts(Key::UnsetEnvironment) {
        match wanted.split_once('=') {
            Some((name, value)) if variables.get(name).is_some_and(|has| has == value) => {
                variables.remove(name);
            }
            Some(_) => {}
            None => {
                variables.remove(wanted);
            }
        }
    }
}

/// The arguments with variables put in: `${NAME}` anywhere, `$NAME` as a word of its own, which is then split at blanks.
pub(super) fn arguments(line: &Command<'_>, variables: &Variables) -> Vec<CString> {
    if line.flags() & command::NO_EXPAND != 0 {
        return line.arguments().map(ToOwned::to_owned).collect();
    }
    let mut result = Vec::new();
    for argument in line.arguments() {
        let text = argument.to_string_lossy();
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        match text.strip_prefix('$').filter(|name| is_name(name)) {
            Some(name) => {
                let value = variables.get(name).map_or("", String::as_str);
                result.extend(value.split_whitespace().filter_map(|word| CString::new(word).ok()));
            }
            None => result.extend(CString::new(substitute(&text, variables)).ok()),
        }
    }
    result
}

/// `${NAME}` replaced, `$$` a dollar.
fn substitute(text: &str, variables: &Variables) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            result.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('{').and_then(|tail| tail.split_once('}')) {
            result.push_str(variables.get(name).map_or("", String::as_str));
            rest = tail;
        } else {
            result.push('$');
            rest = after;
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_a_number_or_a_signals_name() {
        assert_eq!([0, 3, 256 + 15, 256 + 9].map(exit_status), ["0", "3", "TERM", "KILL"]);
    }

    #[test]
    fn variables_are_put_in() {
        let variables = Variables::from_iter([("A".into(), "1 2".into()), ("B".into(), "x".into())]);
        for (text, expected) in
            [("${A}-${B}", "1 2-x"), ("$$A", "$A"), ("a$b", "a$b"), ("${NONE}", ""), ("${open", "${open")]
        {
            assert_eq!(substitute(text, &variables), expected);
        }
    }
}
