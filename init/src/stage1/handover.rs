//! From the initrd to the booted system: mounts moved, memory of the initrd freed, root changed, stage 2 executed.

use super::failure::Failure;
use crate::mounting;
use nix::mount::{MsFlags, mount};
use std::convert::Infallible;
use std::ffi::CString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Goes over to `init` below the new root. The name that stage 2 gets is the one on the command line, unresolved.
pub(super) fn switch_root(root: &Path, init: &str) -> Result<Infallible, Failure> {
    let program = resolve_below(root, Path::new(init))
        .filter(|path| path.exists())
        .ok_or_else(|| Failure::new(format!("{init} (init=) does not exist on the root file system")))?;
    drop(program);
    for place in ["dev", "proc", "sys", "run"] {
        let from = Path::new("/").join(place);
        mounting::move_mount(&from, &root.join(place))
            .map_err(|error| Failure::io("move", &from.display().to_string(), &error))?;
    }
    let enter = |step: &str, result: nix::Result<()>| {
        result.map_err(|error| Failure::io(step, "the new root", &error.into()))
    };
    enter("enter", nix::unistd::chdir(root))?;
    free_initrd();
    enter("move", mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>))?;
    enter("change to", nix::unistd::chroot("."))?;
    enter("enter", nix::unistd::chdir("/"))?;
    let name = CString::new(init).map_err(|_| Failure::new("init= holds a NUL byte".to_owned()))?;
    let environment: [&std::ffi::CStr; 2] = [c"PATH=/run/current-system/sw/bin", c"HOME=/root"];
    let error = match nix::unistd::execve(&name, &[&name], &environment) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    Err(Failure::io("execute", init, &error.into()))
}

/// Follows links as they will be seen from inside the new root.
fn resolve_below(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut pending: Vec<std::ffi::OsString> = path.iter().rev().map(ToOwned::to_owned).collect();
    let mut inside = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = pending.pop() {
        match part.to_str() {
            Some("/") => inside = PathBuf::from("/"),
            Some(".") => {}
            Some("..") => {
                inside.pop();
            }
            _ => {
                let next = inside.join(&part);
                let Ok(target) = std::fs::read_link(root.join(next.strip_prefix("/").ok()?)) else {
                    inside = next;
                    continue;
                };
                links += 1;
                if links > 40 {
                    return None;
                }
                pending.extend(target.iter().rev().map(ToOwned::to_owned));
            }
        }
    }
    Some(root.join(inside.strip_prefix("/").ok()?))
}

/// Removes the initrd's files, whose memory nobody needs any more; never crosses into another file system.
fn free_initrd() {
    let Ok(device) = std::fs::symlink_metadata("/").map(|meta| meta.dev()) else { return };
    remove_below(Path::new("/"), device);
}

fn remove_below(directory: &Path, device: u64) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.dev() != device {
            continue;
        }
        // What cannot be removed only costs memory.
        if meta.is_dir() {
            remove_below(&path, device);
            drop(std::fs::remove_dir(&path));
        } else {
            drop(std::fs::remove_file(&path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_inside_the_new_root() {
        let root = std::env::temp_dir().join(format!("firn-handover-{}", std::process::id()));
        std::fs::create_dir_all(root.join("nix/store/x")).unwrap();
        std::fs::write(root.join("nix/store/x/program"), "").unwrap();
        std::os::unix::fs::symlink("/nix/store/x", root.join("system")).unwrap();
        std::os::unix::fs::symlink("../store/x/program", root.join("nix/store/init")).unwrap();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        assert_eq!(
            resolve_below(&root, Path::new("/system/program")),
            Some(root.join("nix/store/x/program"))
        );
        assert!(resolve_below(&root, Path::new("/nix/store/init")).unwrap().exists());
        assert_eq!(resolve_below(&root, Path::new("/loop")), None);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
