//! Programs run by a small machine of their own, call by call.

use super::*;

/// Runs one program over a call.
fn run(program: &[u64], architecture: u32, call: u32, arguments: [u32; 6]) -> u32 {
    let load = |at: u32| match at {
        0 => call,
        4 => architecture,
        at => arguments[(at as usize - 16) / 8],
    };
    let (mut at, mut value) = (0, 0);
    loop {
        let word = program[at];
        let (code, if_true, if_false, k) =
            (word as u16, (word >> 16) as u8 as usize, (word >> 24) as u8 as usize, (word >> 32) as u32);
        at += 1;
        match code {
            0x20 => value = load(k),
            0x54 => value &= k,
            0x15 => at += if value == k { if_true } else { if_false },
            0x35 => at += if value >= k { if_true } else { if_false },
            0x05 => at += k as usize,
            0x06 => return k,
            other => panic!("{other:#x}"),
        }
    }
}

const X86: u32 = 0xc000_003e;

/// The strictest answer of all programs, as the kernel takes it.
fn answer(wishes: &Wishes, call: &str, arguments: [u32; 6]) -> u32 {
    let words = assemble(wishes).unwrap();
    let mut rest = &words[..];
    let mut strictest = ALLOW;
    while let Some((length, tail)) = rest.split_first() {
        let (program, after) = tail.split_at(*length as usize);
        assert!(program.len() < 4096, "the kernel takes 4096 instructions");
        let found = run(program, X86, number_of(call).unwrap(), arguments);
        let rank = |action: u32| match action {
            KILL => 0,
            ALLOW => 2,
            _ => 1,
        };
        if rank(found) < rank(strictest) {
            strictest = found;
        }
        rest = after;
    }
    strictest
}

fn filter(values: &[&str]) -> Wishes {
    Wishes { filter: values.iter().map(|value| (*value).to_owned()).collect(), ..Wishes::default() }
}

#[test]
fn tables_are_sorted() {
    assert!(X86_64.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(ELSEWHERE.windows(2).all(|pair| pair[0] < pair[1]));
    for (name, _) in GROUPS {
        members(name, &mut BTreeSet::new()).unwrap();
    }
}

#[test]
fn filters_of_calls() {
    let none = [0; 6];
    let service = filter(&["@system-service", "~@privileged @resources"]);
    for (call, expected) in [
        ("read", ALLOW),
        ("openat", ALLOW),
        ("execve", ALLOW),
        ("mount", KILL),
        ("setrlimit", KILL),
        ("chroot", KILL),
        ("reboot", KILL),
    ] {
        assert_eq!(answer(&service, call, none), expected, "{call}");
    }
    let deny = filter(&["~@mount reboot:EACCES"]);
    for (call, expected) in [("read", ALLOW), ("umount2", KILL), ("reboot", ERRNO | 0xd)] {
        assert_eq!(answer(&deny, call, none), expected, "{call}");
    }
    let mut polite = filter(&["@system-service", "~@clock", "clock_settime"]);
    polite.denied = Some(ERRNO | 1);
    assert_eq!(answer(&polite, "clock_settime", none), ALLOW);
    assert_eq!(answer(&polite, "settimeofday", none), ERRNO | 1);
}

/// Every call against the set that the directive means, so that no range of the search is off by one.
#[test]
fn each_call_meets_its_own_action() {
    for values in [&["@system-service"][..], &["~@privileged", "~@obsolete"], &["read write", "~read"]] {
        let wishes = filter(values);
        let (default, actions) = number_filter(&wishes).unwrap().unwrap();
        let words = assemble(&wishes).unwrap();
        for number in 0..600 {
            let expected = actions.get(&number).copied().unwrap_or(default);
            assert_eq!(run(&words[1..], X86, number, [0; 6]), expected, "{values:?} {number}");
        }
        assert_eq!(run(&words[1..], 0x4000_0003, 3, [0; 6]), ERRNO | ENOSYS, "i386");
        assert_eq!(run(&words[1..], X86, 0x4000_0000, [0; 6]), ERRNO | ENOSYS, "x32");
    }
}

#[test]
fn arguments_decide() {
    let families =
        |texts: &[&str]| texts.iter().fold(None, |before, text| address_families(before, text).unwrap());
    let wishes = Wishes {
        families: families(&["AF_INET AF_INET6", "AF_UNIX", "~AF_INET6"]),
        namespaces: namespaces(None, "user mnt").unwrap(),
        no_realtime: true,
        no_set_id_bits: true,
        lock_personality: true,
        no_writable_code: true,
        ..Wishes::default()
    };
    let denied = ERRNO | EPERM;
    for (call, arguments, expected) in [
        ("socket", [2, 1, 0, 0, 0, 0], ALLOW),
        ("socket", [1, 1, 0, 0, 0, 0], ALLOW),
        ("socket", [10, 1, 0, 0, 0, 0], ERRNO | EAFNOSUPPORT),
        ("socket", [17, 1, 0, 0, 0, 0], ERRNO | EAFNOSUPPORT),
        ("unshare", [0x1002_0000, 0, 0, 0, 0, 0], ALLOW),
        ("unshare", [0x4000_0000, 0, 0, 0, 0, 0], denied),
        ("clone", [0x0100_0011, 0, 0, 0, 0, 0], ALLOW),
        ("clone", [0x2000_0011, 0, 0, 0, 0, 0], denied),
        ("setns", [3, 0, 0, 0, 0, 0], denied),
        ("setns", [3, 0x1000_0000, 0, 0, 0, 0], ALLOW),
        ("clone3", [0; 6], ERRNO | ENOSYS),
        ("sched_setscheduler", [0, 3, 0, 0, 0, 0], ALLOW),
        ("sched_setscheduler", [0, 1, 0, 0, 0, 0], denied),
        ("personality", [0xffff_ffff, 0, 0, 0, 0, 0], ALLOW),
        ("personality", [8, 0, 0, 0, 0, 0], denied),
        ("chmod", [0, 0o755, 0, 0, 0, 0], ALLOW),
        ("chmod", [0, 0o4755, 0, 0, 0, 0], denied),
        ("openat", [0, 0, 0o100, 0o2644, 0, 0], denied),
        ("openat", [0, 0, 0, 0o2644, 0, 0], ALLOW),
        ("mmap", [0, 0, 3, 0, 0, 0], ALLOW),
        ("mmap", [0, 0, 7, 0, 0, 0], denied),
        ("mprotect", [0, 0, 5, 0, 0, 0], denied),
        ("read", [7; 6], ALLOW),
    ] {
        assert_eq!(answer(&wishes, call, arguments), expected, "{call} {arguments:?}");
    }
    let none = Wishes { families: families(&["none"]), ..Wishes::default() };
    assert_eq!(answer(&none, "socket", [1, 0, 0, 0, 0, 0]), ERRNO | EAFNOSUPPORT);
    let deny = Wishes { families: families(&["~AF_PACKET AF_NETLINK"]), ..Wishes::default() };
    assert_eq!(answer(&deny, "socket", [16, 0, 0, 0, 0, 0]), ERRNO | EAFNOSUPPORT);
    assert_eq!(answer(&deny, "socket", [2, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn misspelt_names_are_told() {
    assert!(assemble(&filter(&["@system-servce"])).unwrap_err().contains("did you mean @system-service?"));
    assert!(assemble(&filter(&["opennat"])).unwrap_err().contains("did you mean openat?"));
    assert!(assemble(&filter(&["stat64"])).is_ok(), "other architectures' names are none of ours");
    assert!(address_families(None, "AF_INET5").is_err() && namespaces(None, "nets").is_err());
}
