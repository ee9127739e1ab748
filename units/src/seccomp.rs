//! Filters of system calls, assembled at build time: classic BPF programs (bpf(4)) as seccomp(2) takes them, from the directives of
//! systemd.exec(5): SystemCallFilter=, SystemCallErrorNumber=, SystemCallArchitectures=, RestrictAddressFamilies=,
//! RestrictNamespaces=, RestrictRealtime=, RestrictSUIDSGID=, LockPersonality=, MemoryDenyWriteExecute=, and what ProtectClock= and
//! the like deny.
//!
//! A unit gets up to two programs: one looks at arguments, one at the call's number. The second is applied last, as it may
//! deny seccomp(2) itself.

mod assembler;
mod groups;
mod syscalls;

use assembler::{Check, Rule};
use groups::GROUPS;
use std::collections::{BTreeMap, BTreeSet};
use syscalls::{ELSEWHERE, X86_64};

/// Let the call pass.
pub const ALLOW: u32 = 0x7fff_0000;
/// Kill the process with SIGSYS.
pub const KILL: u32 = 0x8000_0000;
/// Fail with the error number in the low bits.
pub const ERRNO: u32 = 0x0005_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

/// What a unit says about system calls.
#[expect(clippy::struct_excessive_bools, reason = "one a directive")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// SystemCallFilter=: values in order.
    pub filter: Vec<String>,
    /// SystemCallErrorNumber=: what a denied call meets; killing when not said.
    pub denied: Option<u32>,
    /// SystemCallArchitectures= names only the machine's own.
    pub native_only: bool,
    /// RestrictAddressFamilies=.
    pub families: Option<Restriction>,
    /// RestrictNamespaces=: the kinds that stay allowed, as flags of clone(2).
    pub namespaces: Option<u32>,
    /// RestrictRealtime=.
    pub no_realtime: bool,
    /// RestrictSUIDSGID=.
    pub no_set_id_bits: bool,
    /// LockPersonality=.
    pub lock_personality: bool,
    /// MemoryDenyWriteExecute=.
    pub no_writable_code: bool,
    /// Calls and groups that fail with EPERM: ProtectClock= and the like.
    pub denied_groups: Vec<&'static str>,
}

/// A list that is either all that is allowed or all that is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// Whether the list is what is allowed.
    pub allows: bool,
    /// Its members.
    pub members: BTreeSet<u32>,
}

/// Kinds of namespaces and their flags.
const NAMESPACES: [(&str, u32); 7] = [
    ("cgroup", 0x0200_0000),
    ("ipc", 0x0800_0000),
    ("net", 0x4000_0000),
    ("mnt", 0x0002_0000),
    ("pid", 0x2000_0000),
    ("user", 0x1000_0000),
    ("uts", 0x0400_0000),
];

/// All of them.
pub const ALL_NAMESPACES: u32 = 0x7e02_0000;

/// Address families by number (address_families(7)).
const FAMILIES: [(&str, u32); 46] = [
    ("UNSPEC", 0),
    ("UNIX", 1),
    ("LOCAL", 1),
    ("INET", 2),
    ("AX25", 3),
    ("IPX", 4),
    ("APPLETALK", 5),
    ("NETROM", 6),
    ("BRIDGE", 7),
    ("ATMPVC", 8),
    ("X25", 9),
    ("INET6", 10),
    ("ROSE", 11),
    ("DECnet", 12),
    ("NETBEUI", 13),
    ("SECURITY", 14),
    ("KEY", 15),
    ("NETLINK", 16),
    ("ROUTE", 16),
    ("PACKET", 17),
    ("ASH", 18),
    ("ECONET", 19),
    ("ATMSVC", 20),
    ("RDS", 21),
    ("SNA", 22),
    ("IRDA", 23),
    ("PPPOX", 24),
    ("WANPIPE", 25),
    ("LLC", 26),
    ("IB", 27),
    ("MPLS", 28),
    ("CAN", 29),
    ("TIPC", 30),
    ("BLUETOOTH", 31),
    ("IUCV", 32),
    ("RXRPC", 33),
    ("ISDN", 34),
    ("PHONET", 35),
    ("IEEE802154", 36),
    ("CAIF", 37),
    ("ALG", 38),
    ("NFC", 39),
    ("VSOCK", 40),
    ("KCM", 41),
    ("QIPCRTR", 42),
    ("XDP", 44),
];

/// Error numbers by name that a filter may answer with (errno(3)).
const ERRORS: [(&str, u32); 24] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EINTR", 4),
    ("EIO", 5),
    ("ENXIO", 6),
    ("EBADF", 9),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("ENODEV", 19),
    ("EINVAL", 22),
    ("EMFILE", 24),
    ("ENOTTY", 25),
    ("ENOSPC", 28),
    ("EROFS", 30),
    ("EDOM", 33),
    ("ERANGE", 34),
    ("ENOSYS", 38),
    ("EPROTONOSUPPORT", 93),
    ("EOPNOTSUPP", 95),
    ("EAFNOSUPPORT", 97),
];

/// SystemCallErrorNumber= and the part of a filter after `:`.
pub fn error_number(text: &str) -> Result<u32, String> {
    if text == "kill" {
        return Ok(KILL);
    }
    let number = ERRORS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    let number = number.or_else(|| text.parse().ok().filter(|number| (1..4096).contains(number)));
    number
        .map(|number| ERRNO | number)
        .ok_or_else(|| format!("`{text}` is no error number that Firn knows by name"))
}

/// RestrictAddressFamilies=, values in order: `none`, families, `~` before those to deny.
pub fn address_families(before: Option<Restriction>, text: &str) -> Result<Option<Restriction>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text == "none" {
        return Ok(Some(Restriction { allows: true, members: BTreeSet::new() }));
    }
    let (inverted, names) = text.strip_prefix('~').map_or((false, text), |names| (true, names));
    let mut restriction = before.unwrap_or(Restriction { allows: !inverted, members: BTreeSet::new() });
    for name in names.split_whitespace() {
        let family =
            name.strip_prefix("AF_").and_then(|name| FAMILIES.iter().find(|(known, _)| *known == name));
        let (_, number) = family.ok_or_else(|| format!("`{name}` is no address family"))?;
        if restriction.allows == inverted {
            restriction.members.remove(number);
        } else {
            restriction.members.insert(*number);
        }
    }
    Ok(Some(restriction))
}

/// RestrictNamespaces=: the kinds that stay allowed.
pub fn namespaces(before: Option<u32>, text: &str) -> Result<Option<u32>, String> {
    match crate::value::boolean(text) {
        Ok(true) => return Ok(Some(0)),
        Ok(false) => return Ok(None),
        Err(_) if text.is_empty() => return Ok(None),
        Err(_) => {}
    }
    let (inverted, names) = text.strip_prefix('~').map_or((false, text), |names| (true, names));
    let mut flags = 0;
    for name in names.split_whitespace() {
        let found = NAMESPACES.iter().find(|(known, _)| *known == name);
        flags |= found.ok_or_else(|| format!("`{name}` is no kind of namespace"))?.1;
    }
    Ok(Some(if inverted { before.unwrap_or(ALL_NAMESPACES) & !flags } else { before.unwrap_or(0) | flags }))
}

fn number_of(name: &str) -> Option<u32> {
    let at = X86_64.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    X86_64.get(at).map(|(_, number)| *number)
}

/// The numbers of a call or a group. A name of another architecture has none.
fn members(name: &str, found: &mut BTreeSet<u32>) -> Result<(), String> {
    if name == "@known" {
        found.extend(X86_64.iter().map(|(_, number)| *number));
        return Ok(());
    }
    if name.starts_with('@') {
        let group = GROUPS.iter().find(|(known, _)| *known == name);
        let (_, list) = group.ok_or_else(|| {
            let nearest = crate::nearest::nearest(name, GROUPS.iter().map(|(known, _)| *known));
            let hint = nearest.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            format!("there is no group of system calls `{name}`{hint}")
        })?;
        return list.iter().try_for_each(|member| members(member, found));
    }
    match number_of(name) {
        Some(number) => {
            found.insert(number);
            Ok(())
        }
        None if ELSEWHERE.binary_search(&name).is_ok() => Ok(()),
        None => {
            let nearest = crate::nearest::nearest(name, X86_64.iter().map(|(known, _)| *known));
            let hint = nearest.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            Err(format!("there is no system call `{name}`{hint}"))
        }
    }
}

/// The default action, and that of each call that has another one.
type Actions = (u32, BTreeMap<u32, u32>);

/// SystemCallFilter= as an action for each call that differs from the default action, which comes first.
fn number_filter(wishes: &Wishes) -> Result<Option<Actions>, String> {
    let denied = wishes.denied.unwrap_or(KILL);
    // Nothing said, or said to be nothing.
    let Some(first) = wishes.filter.iter().find(|value| !value.is_empty()) else { return Ok(None) };
    let allows = !first.starts_with('~');
    let default = if allows { denied } else { ALLOW };
    let mut actions = BTreeMap::new();
    if allows {
        let mut always = BTreeSet::new();
        members("@default", &mut always)?;
        actions.extend(always.into_iter().map(|number| (number, ALLOW)));
    }
    for value in wishes.filter.iter().filter(|value| !value.is_empty()) {
        let (inverted, names) =
            value.strip_prefix('~').map_or((false, value.as_str()), |names| (true, names));
        for word in names.split_whitespace() {
            let (name, error) = match word.split_once(':') {
                Some((name, error)) => (name, Some(error_number(error)?)),
                None => (word, None),
            };
            let mut numbers = BTreeSet::new();
            members(name, &mut numbers)?;
            let action = match (inverted, error) {
                (false, None) => ALLOW,
                (_, Some(error)) => error,
                (true, None) => denied,
            };
            for number in numbers {
                if action == default {
                    actions.remove(&number);
                } else {
                    actions.insert(number, action);
                }
            }
        }
    }
    Ok(Some((default, actions)))
}

/// The rules that look at arguments.
fn argument_rules(wishes: &Wishes) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    let mut rule = |name: &str, checks: Vec<(u8, Check)>, action: u32| -> Result<(), String> {
        let call = number_of(name).ok_or_else(|| format!("the table of system calls lacks {name}"))?;
        rules.push(Rule { call, checks, action });
        Ok(())
    };
    let any = |bits: u32| Check::AnyBit(bits);
    if let Some(families) = &wishes.families {
        let members: Vec<u32> = families.members.iter().copied().collect();
        let check = if families.allows { Check::NotIn(members) } else { Check::In(members) };
        rule("socket", vec![(0, check)], ERRNO | EAFNOSUPPORT)?;
    }
    if let Some(allowed) = wishes.namespaces {
        let denied = ALL_NAMESPACES & !allowed;
        if denied != 0 {
            rule("unshare", vec![(0, any(denied))], ERRNO | EPERM)?;
            rule("clone", vec![(0, any(denied))], ERRNO | EPERM)?;
            rule("setns", vec![(1, any(denied))], ERRNO | EPERM)?;
            // No kind given: it could be any.
            rule("setns", vec![(1, Check::In(vec![0]))], ERRNO | EPERM)?;
            // Its flags lie in memory, where no filter can look: the C library then takes clone.
            rule("clone3", Vec::new(), ERRNO | ENOSYS)?;
        }
    }
    if wishes.no_realtime {
        // SCHED_OTHER, SCHED_BATCH, SCHED_IDLE.
        rule("sched_setscheduler", vec![(1, Check::NotIn(vec![0, 3, 5]))], ERRNO | EPERM)?;
        // Its policy lies in memory.
        rule("sched_setattr", Vec::new(), ERRNO | EPERM)?;
    }
    if wishes.lock_personality {
        // Asking (0xffffffff) and the one that every process has.
        rule("personality", vec![(0, Check::NotIn(vec![0, 0xffff_ffff]))], ERRNO | EPERM)?;
    }
    if wishes.no_set_id_bits {
        let set_id = || any(0o6000);
        for (name, argument) in [
            ("chmod", 1),
            ("fchmod", 1),
            ("fchmodat", 2),
            ("fchmodat2", 2),
            ("mkdir", 1),
            ("mkdirat", 2),
            ("mknod", 1),
            ("mknodat", 2),
            ("creat", 1),
        ] {
            rule(name, vec![(argument, set_id())], ERRNO | EPERM)?;
        }
        for (name, flags, mode) in [("open", 1, 2), ("openat", 2, 3)] {
            rule(name, vec![(flags, any(0o100)), (mode, set_id())], ERRNO | EPERM)?;
        }
        rule("openat2", Vec::new(), ERRNO | ENOSYS)?;
    }
    if wishes.no_writable_code {
        // PROT_WRITE 2, PROT_EXEC 4, SHM_EXEC 0100000.
        rule("mmap", vec![(2, Check::AllBits(6))], ERRNO | EPERM)?;
        rule("mprotect", vec![(2, any(4))], ERRNO | EPERM)?;
        rule("pkey_mprotect", vec![(2, any(4))], ERRNO | EPERM)?;
        rule("shmat", vec![(2, any(0o100_000))], ERRNO | EPERM)?;
    }
    Ok(rules)
}

/// The programs of a unit in the order in which they are applied, each as its length and its instructions; empty for none.
pub fn assemble(wishes: &Wishes) -> Result<Vec<u64>, String> {
    let foreign = if wishes.native_only { KILL } else { ERRNO | ENOSYS };
    let mut programs: Vec<Vec<u64>> = Vec::new();
    let rules = argument_rules(wishes)?;
    if !rules.is_empty() {
        programs.push(assembler::by_argument(&rules, foreign));
    }
    let mut denied = BTreeSet::new();
    for name in &wishes.denied_groups {
        members(name, &mut denied)?;
    }
    if !denied.is_empty() {
        let actions = denied.into_iter().map(|number| (number, ERRNO | EPERM)).collect();
        programs.push(assembler::by_number(ALLOW, &actions, foreign));
    }
    match number_filter(wishes)? {
        Some((default, actions)) => programs.push(assembler::by_number(default, &actions, foreign)),
        None if wishes.native_only && programs.is_empty() => {
            programs.push(assembler::by_number(ALLOW, &BTreeMap::new(), foreign));
        }
        None => {}
    }
    let mut words = Vec::new();
    for program in programs {
        words.push(program.len() as u64);
        words.extend(program);
    }
    Ok(words)
}

#[cfg(test)]
mod tests;
