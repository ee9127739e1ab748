//! File capabilities: the text of cap_from_text(3) to the value of the `security.capability` attribute, revision 2
//! (linux/capability.h, `struct vfs_cap_data`; capabilities(7), "File capability extended attribute versioning").

/// Names in the order of their bits, capabilities(7).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];
const REVISION_2: u32 = 0x0200_0000;
const EFFECTIVE: u32 = 1;

/// The three sets of a file; a file's effective set is one bit for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sets {
    effective: u64,
    inheritable: u64,
    permitted: u64,
}

/// The attribute's value for this text.
///
/// # Errors
/// With a sentence about what is wrong in the text.
pub fn attribute(text: &str) -> Result<[u8; 20], String> {
    let sets = parse(text)?;
    if sets.effective != 0 && sets.effective != sets.permitted | sets.inheritable {
        return Err(format!("`{text}`: a file's effective capabilities are all of its capabilities or none"));
    }
    let magic = REVISION_2 | if sets.effective == 0 { 0 } else { EFFECTIVE };
    let words = [
        magic,
        sets.permitted as u32,
        sets.inheritable as u32,
        (sets.permitted >> 32) as u32,
        (sets.inheritable >> 32) as u32,
    ];
    let mut value = [0; 20];
    for (place, word) in value.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    Ok(value)
}

fn parse(text: &str) -> Result<Sets, String> {
    let mut sets = Sets::default();
    for clause in text.split_whitespace() {
        let at =
            clause.find(['+', '-', '=']).ok_or_else(|| format!("`{clause}` has none of `+`, `-`, `=`"))?;
        let (names, mut actions) = clause.split_at(at);
        let which = named(names)?;
        while let Some(operator) = actions.chars().next() {
            let end = actions[1..].find(['+', '-', '=']).map_or(actions.len(), |end| end + 1);
            change(&mut sets, which, operator, &actions[1..end])?;
            actions = &actions[end..];
        }
    }
    Ok(sets)
}

fn named(names: &str) -> Result<u64, String> {
    if names.is_empty() || names == "all" {
        return Ok((1 << NAMES.len()) - 1);
    }
    names.split(',').try_fold(0, |which, name| {
        let lower = name.to_ascii_lowercase();
        let short = lower.strip_prefix("cap_").unwrap_or(&lower);
        match NAMES.iter().position(|known| *known == short) {
            Some(bit) => Ok(which | 1 << bit),
            None => Err(format!("there is no capability `{name}`")),
        }
    })
}

fn change(sets: &mut Sets, which: u64, operator: char, flags: &str) -> Result<(), String> {
    if operator == '=' {
        *sets = Sets {
            effective: sets.effective & !which,
            inheritable: sets.inheritable & !which,
            permitted: sets.permitted & !which,
        };
    }
    for flag in flags.chars() {
        let set = match flag {
            'e' => &mut sets.effective,
            'i' => &mut sets.inheritable,
            'p' => &mut sets.permitted,
            other => return Err(format!("`{other}` is none of the flags e, i, p")),
        };
        if operator == '-' {
            *set &= !which;
        } else {
            *set |= which;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_that_setcap_writes() {
        let raw = |text| attribute(text).unwrap();
        // `setcap cap_net_raw+ep` gives 0100000200200000 00000000 …
        assert_eq!(raw("cap_net_raw+ep")[..12], [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0]);
        assert_eq!(raw("cap_net_raw=ep"), raw("CAP_NET_RAW+pe"));
        assert_eq!(raw("cap_net_bind_service,cap_net_admin+p")[..8], [0, 0, 0, 2, 0, 0x14, 0, 0]);
        assert_eq!(raw("cap_bpf+ep")[12..16], [0x80, 0, 0, 0], "bit 39 is in the second word");
        assert_eq!(raw("cap_chown+ep cap_chown-ep"), raw(""));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("cap_fly+ep", "cap_fly"),
            ("cap_chown", "none of"),
            ("cap_chown+x", "flags"),
            ("cap_chown+ep cap_kill+p", "all of its"),
        ] {
            let problem = attribute(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }
}
