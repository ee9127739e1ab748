//! DynamicUser= (systemd.exec(5)): a user that exists while its service runs. Its number follows from its name, so that the files of a
//! StateDirectory= keep their owner; if somebody has that number already, the next one is taken. As there is no name service to ask,
//! the service sees an /etc/passwd and an /etc/group that know its user.

use super::accounts::{self, Account};
use std::io;
use std::path::{Path, PathBuf};

/// The numbers that are for this (systemd's: "Users, Groups, UIDs and GIDs on systemd Systems").
const NUMBERS: std::ops::RangeInclusive<u32> = 61184..=65519;

/// Who has which number now, and the files to show.
const DIRECTORY: &str = "/run/firn/dynamic-users";

/// A user with the files to show.
#[derive(Debug, Clone)]
pub(super) struct DynamicUser {
    pub(super) account: Account,
    pub(super) files: (PathBuf, PathBuf),
}

/// The name of a unit's user when it says none: the unit's own, as far as it is one for a user.
fn name_of(unit: &str) -> String {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let fits = stem.len() < 32
        && stem.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && stem.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if fits { stem.to_owned() } else { format!("_du{:016x}", hash(unit)) }
}

fn hash(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ hash >> 32
}

/// The user of a unit; a user of that name that exists anyhow is taken as it is, and there is nothing to do.
pub(super) fn provide(unit: &str, user: Option<&str>) -> io::Result<Option<DynamicUser>> {
    let name = user.map_or_else(|| name_of(unit), str::to_owned);
    if accounts::user(&name).is_some() {
        return Ok(None);
    }
    std::fs::create_dir_all(DIRECTORY)?;
    let directory = Path::new(DIRECTORY);
    let count = NUMBERS.end() - NUMBERS.start() + 1;
    let first = (hash(&name) % u64::from(count)) as u32;
    for step in 0..count {
        let uid = NUMBERS.start() + (first + step) % count;
        let claim = directory.join(uid.to_string());
        let holder = std::fs::read_to_string(&claim).ok();
        if holder.as_ref().is_some_and(|holder| *holder != name) || accounts::user(&uid.to_string()).is_some()
        {
            continue;
        }
        std::fs::write(&claim, &name)?;
        let account = Account {
            name: name.clone(),
            uid,
            gid: uid,
            home: "/".into(),
            shell: "/run/current-system/sw/bin/nologin".into(),
        };
        let files = (directory.join(format!("{name}.passwd")), directory.join(format!("{name}.group")));
        let lines = [
            ("/etc/passwd", &files.0, format!("{name}:x:{uid}:{uid}:Dynamic User:/:{}\n", account.shell)),
            ("/etc/group", &files.1, format!("{name}:x:{uid}:\n")),
        ];
        for (path, shown, line) in lines {
            let mut text = std::fs::read_to_string(path)?;
            if !text.ends_with('\n') {
                text.push('\n');
            }
            std::fs::write(shown, text + &line)?;
        }
        return Ok(Some(DynamicUser { account, files }));
    }
    Err(io::Error::other("all numbers of dynamic users are in use"))
}

/// Gives the number back.
pub(super) fn release(unit: &str, user: Option<&str>) {
    let name = user.map_or_else(|| name_of(unit), str::to_owned);
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else { return };
    for entry in entries.flatten() {
        let is_claim = entry.file_name().to_string_lossy().parse::<u32>().is_ok();
        if is_claim && std::fs::read_to_string(entry.path()).is_ok_and(|holder| holder == name) {
            drop(std::fs::remove_file(entry.path()));
        }
    }
    for ending in ["passwd", "group"] {
        drop(std::fs::remove_file(Path::new(DIRECTORY).join(format!("{name}.{ending}"))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_name_their_users() {
        assert_eq!(name_of("chrony-exporter.service"), "chrony-exporter");
        assert!(name_of("a@b.service").starts_with("_du"));
        assert!(name_of("9lives.service").starts_with("_du"));
    }
}
