//! One cgroup a unit in the unified hierarchy (cgroup-v2, Documentation/admin-guide/cgroup-v2.rst): made before the first
//! process, watched for the last one's end, killed as a whole, removed.

use formats::service_graph::UnitKind;
use formats::service_graph::key::Key;
use formats::service_graph::view::Unit;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// The unit's path below the root of the hierarchy.
pub fn path_of(unit: &Unit<'_>) -> String {
    if unit.kind() == UnitKind::Slice {
        return slice_path(unit.name());
    }
    format!("{}/{}", slice_path(unit.text(Key::Slice).unwrap_or("system.slice")), unit.name())
}

/// `a-b.slice` lies in `a.slice`.
fn slice_path(slice: &str) -> String {
    let name = slice.strip_suffix(".slice").unwrap_or(slice);
    if name == "-" {
        return String::new();
    }
    let mut path = String::new();
    let mut upto = String::new();
    for part in name.split('-') {
        if !upto.is_empty() {
            upto.push('-');
        }
        upto.push_str(part);
        path.push('/');
        path.push_str(&upto);
        path.push_str(".slice");
    }
    path
}

/// The directory of a path below the root.
fn directory(path: &str) -> PathBuf {
    Path::new(ROOT).join(path.trim_start_matches('/'))
}

/// Makes the unit's cgroup with its limits and opens it.
pub fn make(unit: &Unit<'_>) -> io::Result<File> {
    let path = path_of(unit);
    let directory = directory(&path);
    let is_new = match std::fs::create_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        // The slice is not there yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(&directory)?;
            true
        }
        made => made.map(|()| true)?,
    };
    if is_new && unit.has(Key::CgroupWrites) {
        limit(unit)?;
    }
    File::open(directory)
}

/// What a unit's settings write into its cgroup, file by file.
fn writes<'a>(unit: &Unit<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    unit.texts(Key::CgroupWrites).filter_map(|line| line.split_once('='))
}

/// Writes a unit's limits; of several values for one file the last one counts.
fn limit(unit: &Unit<'_>) -> io::Result<()> {
    let path = path_of(unit);
    let directory = directory(&path);
    enable_controllers(&path);
    for (file, value) in writes(unit) {
        std::fs::write(directory.join(file), value).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write {value} to {file}: {error}"))
        })?;
    }
    Ok(())
}

/// A slice's cgroup with its limits, whether what lies in it runs already or not.
pub fn make_slice(unit: &Unit<'_>) -> io::Result<()> {
    std::fs::create_dir_all(directory(&path_of(unit)))?;
    limit(unit)
}

/// What files of a cgroup say when nobody limits it.
const UNLIMITED: [(&str, &str); 9] = [
    ("memory.min", "0"),
    ("memory.low", "0"),
    ("memory.oom.group", "0"),
    ("cpu.weight", "100"),
    ("io.weight", "default 100"),
    ("cpu.max", "max 100000"),
    ("cpuset.cpus", "\n"),
    ("pids.max", "max"),
    ("memory.max", "max"),
];

/// A slice's settings have changed while things run in it, or it is gone: the limits that are no longer there are lifted, the others
/// written.
pub fn change_slice(old: &Unit<'_>, new: Option<&Unit<'_>>) -> io::Result<()> {
    let directory = directory(&path_of(old));
    for (file, _) in writes(old) {
        if !new.is_some_and(|new| writes(new).any(|(other, _)| other == file)) {
            let value = UNLIMITED.iter().find(|(known, _)| *known == file).map_or("max", |(_, value)| value);
            std::fs::write(directory.join(file), value)?;
        }
    }
    new.filter(|new| new.has(Key::CgroupWrites)).map_or(Ok(()), make_slice)
}

/// Delegate=: the controllers are there, the cgroup says that somebody else makes cgroups below it, and the unit's user, if it has one,
/// may do that and move processes between them.
pub fn delegate(unit: &Unit<'_>, owner: Option<(u32, u32)>) -> io::Result<()> {
    let path = path_of(unit);
    enable_controllers(&path);
    let directory = directory(&path);
    for name in [c"user.delegate", c"trusted.delegate"] {
        // A kernel without the one or the other: nothing but a mark.
        drop(sys::extended_attribute::set(&directory, name, b"1"));
    }
    let Some((uid, gid)) = owner else { return Ok(()) };
    let give = |path: &Path| std::os::unix::fs::chown(path, Some(uid), Some(gid));
    give(&directory)?;
    for file in
        ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "memory.oom.group", "memory.reclaim"]
    {
        match give(&directory.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Turns the controllers on in every cgroup above.
fn enable_controllers(path: &str) {
    let mut above = PathBuf::from(ROOT);
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    for part in parts.iter().take(parts.len()) {
        for controller in ["+memory", "+pids", "+cpu", "+io", "+cpuset"] {
            // A kernel without one of them: the write of the limit itself will say so.
            drop(std::fs::write(above.join("cgroup.subtree_control"), controller));
        }
        above.push(part);
    }
}

/// The file that tells whether the cgroup is populated, for inotify(7).
pub fn events_file(path: &str) -> PathBuf {
    directory(path).join("cgroup.events")
}

/// Whether any process is in it or below it.
pub fn is_populated(path: &str) -> bool {
    std::fs::read_to_string(events_file(path)).is_ok_and(|text| text.contains("populated 1"))
}

/// How many of its processes the kernel has killed for want of memory since the cgroup was made.
pub fn oom_kills(path: &str) -> u64 {
    let text = std::fs::read_to_string(directory(path).join("memory.events")).unwrap_or_default();
    let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    kills.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The processes in it and below it.
pub fn processes(path: &str) -> Vec<u32> {
    let mut found = Vec::new();
    collect_processes(&directory(path), &mut found);
    found
}

fn collect_processes(directory: &Path, found: &mut Vec<u32>) {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    // A directory has two links and one more for each directory in it.
    if std::fs::metadata(directory).is_ok_and(|metadata| metadata.nlink() > 2) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                collect_processes(&entry.path(), found);
            }
        }
    }
}

/// Kills all of it at once, so that nothing can fork away.
pub fn kill(path: &str) {
    if std::fs::write(directory(path).join("cgroup.kill"), "1").is_err() {
        for pid in processes(path) {
            crate::best_effort::tolerate(nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid as i32),
                nix::sys::signal::Signal::SIGKILL,
            ));
        }
    }
}

/// Removes it with what delegated managers left below it. A cgroup that is still populated stays.
pub fn remove(path: &str) {
    remove_tree(&directory(path));
}

fn remove_tree(directory: &Path) {
    if std::fs::remove_dir(directory).is_ok() {
        return;
    }
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    drop(std::fs::remove_dir(directory));
}

/// The unit that a process belongs to, by its cgroup: the last part of the path that is a unit's name.
pub fn unit_of_process(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.split('/').find(|part| part.ends_with(".service")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_lie_in_each_other() {
        for (slice, path) in [
            ("system.slice", "/system.slice"),
            ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
            ("-.slice", ""),
        ] {
            assert_eq!(slice_path(slice), path);
        }
    }
}
