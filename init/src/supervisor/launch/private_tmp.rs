//! PrivateTmp=: directories in /tmp and /var/tmp that a unit's processes see as these, made with its first process and removed when
//! it is down. Their names cannot be guessed; where they lie is noted in /run, so that a successor of the supervisor knows.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

const NOTES: &str = "/run/firn/private-tmp";

/// The directories of a unit (or of the units that share them) under that name.
pub(super) fn provide(name: &str, fresh: impl FnOnce() -> String) -> io::Result<(PathBuf, PathBuf)> {
    let note = Path::new(NOTES).join(name);
    let paths =
        |id: &str| ["/tmp", "/var/tmp"].map(|base| PathBuf::from(format!("{base}/firn-private-{name}-{id}")));
    if let Ok(id) = std::fs::read_to_string(&note) {
        let [tmp, var_tmp] = paths(&id).map(|path| path.join("tmp"));
        if tmp.is_dir() && var_tmp.is_dir() {
            return Ok((tmp, var_tmp));
        }
    }
    let id = fresh();
    for path in paths(&id) {
        // Root alone enters the outer one; the inner one is what the service sees as /tmp.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let inner = path.join("tmp");
        std::fs::DirBuilder::new().mode(0o700).create(&inner)?;
        std::fs::set_permissions(&inner, std::os::unix::fs::PermissionsExt::from_mode(0o1777))?;
    }
    std::fs::create_dir_all(NOTES)?;
    std::fs::write(note, &id)?;
    let [tmp, var_tmp] = paths(&id).map(|path| path.join("tmp"));
    Ok((tmp, var_tmp))
}

/// Removes them.
pub(super) fn remove(name: &str) {
    let note = Path::new(NOTES).join(name);
    let Ok(id) = std::fs::read_to_string(&note) else { return };
    for base in ["/tmp", "/var/tmp"] {
        drop(std::fs::remove_dir_all(format!("{base}/firn-private-{name}-{id}")));
    }
    drop(std::fs::remove_file(note));
}
