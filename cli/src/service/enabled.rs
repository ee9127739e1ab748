//! `firn service enable-until-reboot`: units that run beside what the configuration starts, instances of templates
//! included, until they are stopped or the machine starts anew. A switch to another generation starts them again when
//! it has ended them: their names stand as empty files below /run/firn/enabled, which no boot finds again.

use super::instances;
use anyhow::{Context as _, Result};
use formats::control::{Request, Verb};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;

const DIRECTORY: &str = "/run/firn/enabled";

/// Whether a unit is enabled so.
pub(crate) fn is_enabled(name: &str) -> bool {
    Path::new(DIRECTORY).join(full(name)).exists()
}

/// Notes a unit.
pub(crate) fn note(name: &str) -> Result<()> {
    std::fs::create_dir_all(DIRECTORY).with_context(|| format!("cannot make {DIRECTORY}"))?;
    let place = Path::new(DIRECTORY).join(full(name));
    std::fs::write(&place, "").with_context(|| format!("cannot write {}", place.display()))
}

/// Forgets a unit. Whether it was noted.
pub(crate) fn forget(name: &str) -> Result<bool> {
    let place = Path::new(DIRECTORY).join(full(name));
    match std::fs::remove_file(&place) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        // Who may not is told so by the supervisor.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", place.display())),
    }
}

/// After a switch: starts what it ended. What went wrong, in words.
pub(crate) fn start_again() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let start = |stream: &mut UnixStream, name: &str| -> Result<()> {
        instances::ensure(stream, name)?;
        let request = Request::Job { verb: Verb::Start, unit: name.to_owned(), wait: false };
        super::ask(stream, &request, |_| Ok(())).map(drop)
    };
    let each = |name: &String| {
        let started = super::connect().and_then(|mut stream| start(&mut stream, name));
        started.err().map(|error| format!("{name}, enabled until reboot, is not started: {error:#}"))
    };
    names.iter().filter_map(each).collect()
}

/// A name without suffix is a service's. Nothing leads out of the directory.
fn full(name: &str) -> String {
    let name = name.replace('/', "-");
    let has_suffix = formats::service_graph::UnitKind::of_name(&name).is_some();
    if has_suffix { name } else { format!("{name}.service") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        for (name, file) in [
            ("nginx", "nginx.service"),
            ("a@b.timer", "a@b.timer"),
            ("../../etc/passwd", "..-..-etc-passwd.service"),
        ] {
            assert_eq!(full(name), file);
        }
    }
}
