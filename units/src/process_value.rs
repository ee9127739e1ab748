//! Values of directives about a process's scheduling, devices and credentials: systemd.exec(5), systemd.resource-control(5).

/// SecureBits= as the mask of prctl(2), PR_SET_SECUREBITS.
pub fn secure_bits(text: &str) -> Result<u64, String> {
    const BITS: [(&str, u64); 6] = [
        ("noroot", 1),
        ("noroot-locked", 2),
        ("no-setuid-fixup", 4),
        ("no-setuid-fixup-locked", 8),
        ("keep-caps", 16),
        ("keep-caps-locked", 32),
    ];
    text.split_whitespace().try_fold(0, |mask, word| {
        let bit = BITS.iter().find(|(name, _)| *name == word);
        bit.map(|(_, bit)| mask | bit).ok_or_else(|| format!("`{word}` is no secure bit"))
    })
}

/// `ID:PATH` or `ID:VALUE`; nothing for an empty text. LoadCredential= may leave the path out: it is then ID's in the
/// directories for credentials.
pub fn credential(text: &str, is_path: bool) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (id, rest) = text.split_once(':').unwrap_or((text, if is_path { text } else { "" }));
    if !is_path && !text.contains(':') {
        return Err("must be ID:VALUE".into());
    }
    if id.is_empty() || id.contains('/') || matches!(id, "." | "..") {
        return Err(format!("`{id}` is no name of a credential"));
    }
    if is_path && !rest.starts_with('/') && rest.contains('/') {
        return Err(format!("`{rest}` is neither an absolute path nor the name of a credential"));
    }
    Ok(Some(format!("{id}:{rest}")))
}

/// The value of ioprio_set(2), changed in its class or its priority.
pub fn io_priority(before: Option<u64>, is_class: bool, text: &str) -> Result<u64, String> {
    // Best effort, priority 4, when only the other half is said.
    let (class, level) = before.map_or((2, 4), |number| (number >> 13, number & 7));
    if !is_class {
        let level: u64 = text.parse().map_err(|_| "not a number".to_owned())?;
        return if level <= 7 { Ok(class << 13 | level) } else { Err("must lie between 0 and 7".into()) };
    }
    let class = match text {
        "none" | "0" => 0,
        "realtime" | "1" => 1,
        "best-effort" | "2" => 2,
        "idle" | "3" => 3,
        _ => return Err("must be one of realtime, best-effort, idle, none".into()),
    };
    Ok(class << 13 | if class == 3 { 7 } else { level })
}

/// Changes one of policy, priority and reset-on-fork.
pub fn cpu_scheduling(numbers: &mut [u64], directive: &str, text: &str) -> Result<(), String> {
    let (at, value) = match directive {
        "CPUSchedulingPolicy" => {
            let policy = match text {
                "other" => 0,
                "fifo" => 1,
                "rr" => 2,
                "batch" => 3,
                "idle" => 5,
                _ => return Err("must be one of other, batch, idle, fifo, rr".into()),
            };
            if let (1 | 2, Some(priority @ 0)) = (policy, numbers.get_mut(1)) {
                *priority = 1;
            }
            (0, policy)
        }
        "CPUSchedulingPriority" => {
            let priority: u64 = text.parse().map_err(|_| "not a number".to_owned())?;
            if priority > 99 {
                return Err("must lie between 0 and 99".into());
            }
            (1, priority)
        }
        _ => (2, u64::from(crate::value::boolean(text)?)),
    };
    if let Some(slot) = numbers.get_mut(at) {
        *slot = value;
    }
    Ok(())
}

/// `0 2-3,5` as numbers.
pub fn cpus(text: &str) -> Result<Vec<u64>, String> {
    let mut list = Vec::new();
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        let (from, to) = word.split_once('-').unwrap_or((word, word));
        let number = |text: &str| text.parse::<u64>().ok().filter(|cpu| *cpu < 1024);
        match (number(from), number(to)) {
            (Some(from), Some(to)) if from <= to => list.extend(from..=to),
            _ => return Err(format!("`{word}` is no CPU number or range")),
        }
    }
    list.sort_unstable();
    list.dedup();
    Ok(list)
}

/// DeviceAllow=: a node below /dev, or `char-NAME`, `block-NAME`, and what may be done.
pub fn device(text: &str) -> Result<Option<String>, String> {
    let mut words = text.split_whitespace();
    let Some(node) = words.next() else { return Ok(None) };
    let access = words.next().unwrap_or("rwm");
    let is_group =
        ["char-", "block-"].iter().any(|prefix| node.starts_with(prefix) && node.len() > prefix.len());
    if !is_group && !node.starts_with("/dev/") && !node.starts_with("/run/systemd/inaccessible/") {
        return Err(format!("`{node}` is neither a path below /dev nor char-NAME nor block-NAME"));
    }
    if access.is_empty() || !access.bytes().all(|letter| b"rwm".contains(&letter)) || words.next().is_some() {
        return Err("what may be done is said by the letters r, w and m".into());
    }
    Ok(Some(format!("{node} {access}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(secure_bits("noroot keep-caps-locked"), Ok(33));
        assert!(secure_bits("root").is_err());
        assert_eq!(credential("a:/x:y", true), Ok(Some("a:/x:y".into())));
        assert_eq!(credential("a", true), Ok(Some("a:a".into())));
        assert!(credential("a", false).is_err() && credential("a/b:c", true).is_err());
        assert_eq!(io_priority(None, true, "idle"), Ok(3 << 13 | 7));
        assert_eq!(io_priority(Some(1 << 13 | 4), false, "0"), Ok(1 << 13));
        let mut numbers = [0, 0, 0];
        cpu_scheduling(&mut numbers, "CPUSchedulingPolicy", "fifo").unwrap();
        cpu_scheduling(&mut numbers, "CPUSchedulingResetOnFork", "yes").unwrap();
        assert_eq!(numbers, [1, 1, 1]);
        assert_eq!(cpus("0 2-3,5"), Ok(vec![0, 2, 3, 5]));
        assert!(cpus("3-1").is_err());
        assert_eq!(device("/dev/null rw"), Ok(Some("/dev/null rw".into())));
        assert_eq!(device("char-rtc"), Ok(Some("char-rtc rwm".into())));
        assert!(device("null").is_err() && device("/dev/null x").is_err());
    }
}
