//! Boot counting's other half: when a machine has reached what it calls up and running, the counter of the entry that it
//! booted from is taken off its name, and the entry counts as good (systemd-bless-boot(8), but without reading firmware
//! variables: the entry is known by the generation that it boots).

use crate::systemd_boot::{ENTRIES, EntryFile};
use std::fs::File;
use std::io;
use std::path::Path;

/// Marks the entries of a toplevel good. Returns the names that were changed; none: nothing was being counted.
///
/// # Errors
/// When the entries cannot be listed, renamed or made durable.
pub fn bless(partition: &Path, token: &str, toplevel: &str) -> io::Result<Vec<String>> {
    let directory = partition.join(ENTRIES);
    let mut blessed = Vec::new();
    for (name, file) in entries(&directory, token)? {
        if file.counter.is_none() || file.toplevel() != Some(toplevel) {
            continue;
        }
        let counted = directory.join(&name);
        let good = directory.join(format!("{}.conf", file.stem));
        let handle = File::open(&counted)?;
        // Both names there (systemd#33504): the counted one would keep losing tries, so it goes.
        if good.exists() {
            std::fs::remove_file(&counted)?;
        } else {
            std::fs::rename(&counted, &good)?;
            handle.sync_all()?;
        }
        File::open(&directory)?.sync_all()?;
        blessed.push(name);
    }
    Ok(blessed)
}

/// What the entries of a toplevel say: how many tries are left, of those that count.
///
/// # Errors
/// When the entries cannot be listed.
pub fn tries_left(partition: &Path, token: &str, toplevel: &str) -> io::Result<Option<u32>> {
    let files = entries(&partition.join(ENTRIES), token)?;
    let own = files.into_iter().filter(|(_, file)| file.toplevel() == Some(toplevel));
    Ok(own.filter_map(|(_, file)| file.counter).map(|counter| counter.left).min())
}

fn entries(directory: &Path, token: &str) -> io::Result<Vec<(String, EntryFile)>> {
    let prefix = format!("{token}-");
    let mut files = Vec::new();
    let listed = match std::fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(error),
    };
    for entry in listed {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with(&prefix) {
            let text = String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned();
            if let Some(file) = EntryFile::parse(&name, text) {
                files.push((name, file));
            }
        }
    }
    files.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_booted_entry_becomes_good_also_when_both_names_exist() {
        let partition = tempfile::tempdir().unwrap();
        let directory = partition.path().join(ENTRIES);
        std::fs::create_dir_all(&directory).unwrap();
        let text = |toplevel: &str| format!("title x\noptions init={toplevel}/init\n");
        for (name, toplevel) in [
            ("t-1-a.conf", "/one"),
            ("t-2-b+2-1.conf", "/two"),
            ("t-3-c+3-0.conf", "/three"),
            ("other+1-0.conf", "/two"),
        ] {
            std::fs::write(directory.join(name), text(toplevel)).unwrap();
        }
        assert_eq!(tries_left(partition.path(), "t", "/two").unwrap(), Some(2));
        assert_eq!(bless(partition.path(), "t", "/two").unwrap(), ["t-2-b+2-1.conf"]);
        assert_eq!(bless(partition.path(), "t", "/two").unwrap(), [""; 0]);
        std::fs::write(directory.join("t-2-b+1-2.conf"), text("/two")).unwrap();
        assert_eq!(bless(partition.path(), "t", "/two").unwrap(), ["t-2-b+1-2.conf"]);
        let mut names: Vec<String> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["other+1-0.conf", "t-1-a.conf", "t-2-b.conf", "t-3-c+3-0.conf"]);
        assert_eq!(bless(&partition.path().join("none"), "t", "/x").unwrap(), [""; 0]);
    }
}
