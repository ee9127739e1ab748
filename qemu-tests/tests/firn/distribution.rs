//! The `firn` command of the distribution directory, and disk images made with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use qemu_tests::{Disk, Machine};

/// The workspace's directory.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// `FIRN_DIST`, or where `make dist` puts it.
pub(crate) fn dist() -> PathBuf {
    let dist = std::env::var_os("FIRN_DIST").map_or_else(|| workspace().join("target/dist"), PathBuf::from);
    assert!(
        dist.join("bin/firn").exists(),
        "no {}/bin/firn: run `make dist channel`, or `make vm-test`",
        dist.display()
    );
    dist
}

/// Where these tests keep what they make.
pub(crate) fn directory() -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("firn");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Runs `firn` on the host.
pub(crate) fn firn<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Output {
    let store =
        std::env::var_os("FIRN_STORE").map_or_else(|| workspace().join(".cache/store"), PathBuf::from);
    let mut command = Command::new(dist().join("bin/firn"));
    command.args(words).env("FIRN_STORE", store).env("FIRN_DIST", dist());
    command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
}

/// A directory of configurations, in which the words between at signs are replaced.
pub(crate) fn configurations(name: &str, words: &[(&str, &str)]) -> PathBuf {
    let to = directory().join(name);
    std::fs::create_dir_all(&to).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/firn/configurations");
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let text = fill(&std::fs::read_to_string(&path).unwrap(), words);
        std::fs::write(to.join(path.file_name().unwrap()), text).unwrap();
    }
    to
}

/// The text with each `@word@` replaced.
pub(crate) fn fill(text: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(&format!("@{word}@"), value))
}

/// A disk image of a configuration.
pub(crate) fn image(configuration: &Path, name: &str) -> PathBuf {
    let disk = directory().join(format!("{name}.img"));
    let output = firn([OsStr::new("image"), configuration.as_os_str(), OsStr::new("-o"), disk.as_os_str()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "firn image {}: {}\n{errors}", configuration.display(), output.status);
    disk
}

/// A running machine of a configuration, with the agent in it. What takes longer than `limit` seconds fails.
pub(crate) fn machine(name: &str, configuration: &Path, memory_mib: u32, limit: u64) -> Machine {
    machine_of(name, &image(configuration, name), memory_mib, limit)
}

/// The same, of an image.
pub(crate) fn machine_of(name: &str, image: &Path, memory_mib: u32, limit: u64) -> Machine {
    Machine::builder(name)
        .uefi()
        .memory_mib(memory_mib)
        .agent()
        .disk(Disk::overlay(image))
        .limit(Duration::from_secs(limit))
        .start()
        .unwrap()
}
