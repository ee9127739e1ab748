//! Runs the programs by which tests have file systems checked: e2fsck, fsck.vfat, sgdisk, … A test that must do without one says so aloud;
//! with `FIRN_REQUIRE_CHECKERS=1` in the environment (as in CI) it fails instead.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program, wherever distributions put it. `None` when it is not installed.
pub(crate) fn find(program: &str, package: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.exists());
    if found.is_none() {
        let text =
            format!("{program} is not installed (package {package}); what it would check is not checked");
        assert!(std::env::var_os("FIRN_REQUIRE_CHECKERS").is_none(), "{text}");
        eprintln!("SKIPPED: {text}");
    }
    found
}

/// Runs it: whether it succeeded and all that it said.
pub(crate) fn run<A: AsRef<OsStr>>(
    program: &str,
    package: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Option<(bool, String)> {
    let mut command = Command::new(find(program, package)?);
    let output = command.args(arguments).env("LC_ALL", "C.UTF-8").output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), text))
}

/// Asserts that two directories hold the same names, files, links and executable bits.
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let names = |directory: &Path| -> Vec<std::ffi::OsString> {
        let mut names: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(left), names(right), "{}", left.display());
    for name in names(left) {
        let (left, right) = (left.join(&name), right.join(&name));
        let kind = |path: &Path| path.symlink_metadata().unwrap().file_type();
        assert_eq!(kind(&left), kind(&right), "{}", left.display());
        if kind(&left).is_dir() {
            assert_same(&left, &right);
        } else if kind(&left).is_symlink() {
            assert_eq!(std::fs::read_link(&left).unwrap(), std::fs::read_link(&right).unwrap());
        } else {
            assert!(std::fs::read(&left).unwrap() == std::fs::read(&right).unwrap(), "{}", left.display());
        }
    }
}
