//! LoadCredential= and SetCredential= (systemd.exec(5), "Credentials"): small secrets in a file system of their own in memory that is
//! never swapped (ramfs), readable by the service's user only, unmounted when the service is down.

use super::Identity;
use formats::service_graph::key::Key;
use formats::service_graph::view::Unit;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

/// Where each unit's credentials lie, by its name.
pub(super) const DIRECTORY: &str = "/run/credentials";

/// Where credentials without a path are looked for.
const STORES: [&str; 3] = ["/etc/credstore", "/run/credstore", "/usr/lib/credstore"];

/// Where ImportCredential= looks: what the machine was given at its start comes first.
const IMPORTED: [&str; 4] =
    ["/run/credentials/@system", "/etc/credstore", "/run/credstore", "/usr/lib/credstore"];

/// A credential is at most so long, all of a unit's together likewise (systemd's limit).
const LONGEST: u64 = 1 << 20;

/// Whether the unit has any.
pub(super) fn has_any(unit: &Unit<'_>) -> bool {
    [Key::LoadCredential, Key::SetCredential, Key::ImportCredential].into_iter().any(|key| unit.has(key))
}

/// The unit's directory.
pub(super) fn directory_of(unit: &Unit<'_>) -> PathBuf {
    Path::new(DIRECTORY).join(unit.name())
}

/// Puts the unit's credentials in their place, once for all its processes.
pub(super) fn provide(unit: &Unit<'_>, identity: &Identity) -> io::Result<()> {
    let directory = directory_of(unit);
    if !has_any(unit) || is_mounted(&directory) {
        return Ok(());
    }
    std::fs::create_dir_all(&directory)?;
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID;
    mount(Some("ramfs"), &directory, Some("ramfs"), flags, Some("mode=0700"))?;
    let result = fill(unit, identity, &directory);
    if result.is_err() {
        remove(unit);
    }
    result?;
    mount(
        None::<&str>,
        &directory,
        None::<&str>,
        MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | flags,
        None::<&str>,
    )?;
    Ok(())
}

fn is_mounted(directory: &Path) -> bool {
    crate::mounting::mounted().iter().any(|(place, _)| Path::new(place) == directory)
}

fn fill(unit: &Unit<'_>, identity: &Identity, directory: &Path) -> io::Result<()> {
    let uid = identity.account.as_ref().map_or(0, |account| account.uid);
    let mut left = LONGEST;
    let mut write = |id: &str, bytes: &[u8]| -> io::Result<()> {
        let path = directory.join(id);
        left = left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::other("more than 1 MiB of credentials"))?;
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o400).open(&path)?;
        io::Write::write_all(&mut file, bytes)?;
        chown(&path, Some(uid), Some(0))
    };
    for text in unit.texts(Key::LoadCredential) {
        let (id, source) = text.split_once(':').unwrap_or((text, text));
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("credential {id} from {source}: {error}"))
        };
        let found = if source.starts_with('/') {
            Some(PathBuf::from(source))
        } else {
            STORES.iter().map(|store| Path::new(store).join(source)).find(|path| path.exists())
        };
        let Some(path) = found else {
            // What SetCredential= says stands in for what is not there.
            if unit.texts(Key::SetCredential).any(|other| other.split(':').next() == Some(id)) {
                continue;
            }
            return Err(failed(io::ErrorKind::NotFound.into()));
        };
        if path.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = format!("{id}_{}", entry.file_name().to_string_lossy());
                write(&name, &std::fs::read(entry.path()).map_err(failed)?).map_err(failed)?;
            }
        } else {
            match std::fs::read(&path) {
                Ok(bytes) => write(id, &bytes).map_err(failed)?,
                Err(_) if unit.texts(Key::SetCredential).any(|other| other.split(':').next() == Some(id)) => {
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
    // The first store that has a name counts, and what is named one by one comes before.
    for text in unit.texts(Key::ImportCredential) {
        let (pattern, prefix) = match text.split_once(':') {
            Some((pattern, prefix)) => (pattern, Some(prefix)),
            None => (text, None),
        };
        for store in IMPORTED {
            for path in crate::glob::paths(&format!("{store}/{pattern}")) {
                let id = imported_name(&path, pattern, prefix);
                if !id.is_empty() && !directory.join(&id).exists() && Path::new(&path).is_file() {
                    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
                    write(&id, &std::fs::read(&path).map_err(failed)?).map_err(failed)?;
                }
            }
        }
    }
    for text in unit.texts(Key::SetCredential) {
        let (id, value) = text.split_once(':').unwrap_or((text, ""));
        // What was loaded comes first.
        if !directory.join(id).exists() {
            write(id, value.as_bytes())?;
        }
    }
    std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o500))?;
    chown(directory, Some(uid), Some(0))
}

/// The name under which a file is imported: its own, or with `prefix` in place of what stands before the pattern's `*`.
fn imported_name(path: &str, pattern: &str, prefix: Option<&str>) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    match prefix {
        None => name.to_owned(),
        Some(prefix) => {
            let literal = pattern.split(['*', '?', '[']).next().unwrap_or_default();
            format!("{prefix}{}", name.strip_prefix(literal).unwrap_or(name))
        }
    }
}

/// Takes them away.
pub(super) fn remove(unit: &Unit<'_>) {
    if has_any(unit) {
        let directory = directory_of(unit);
        crate::best_effort::tolerate(umount2(&directory, MntFlags::MNT_DETACH));
        drop(std::fs::remove_dir(&directory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imported_credentials_get_names() {
        for (pattern, prefix, expected) in
            [("app.*", None, "app.key"), ("app.*", Some("my."), "my.key"), ("app.key", Some("key"), "key")]
        {
            assert_eq!(imported_name("/etc/credstore/app.key", pattern, prefix), expected);
        }
    }
}
