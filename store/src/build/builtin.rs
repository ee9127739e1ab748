//! The builders that are part of the store, by name: `builtin:fetchurl`, `builtin:buildenv`, `builtin:unpack-channel`.
//! They run in this process and write the output into the build's own directory.

use super::one::Job;
use super::{FailureKind, fetch, unpack_channel, user_environment};
use std::path::PathBuf;

/// Runs the derivation's builder.
pub(super) fn run(job: &Job<'_>) -> Result<(), FailureKind> {
    match job.goal.derivation.builder.as_slice() {
        b"builtin:fetchurl" => fetch::fetch_url(job),
        b"builtin:buildenv" => user_environment::build(job),
        b"builtin:unpack-channel" => unpack_channel::build(job),
        other => Err(FailureKind::Unsupported(format!(
            "there is no builder `{}`; there are builtin:fetchurl, builtin:buildenv and builtin:unpack-channel",
            String::from_utf8_lossy(other)
        ))),
    }
}

/// A text attribute that the builder cannot do without.
pub(super) fn required(job: &Job<'_>, name: &str) -> Result<String, FailureKind> {
    job.attributes
        .text(name)
        .ok_or_else(|| FailureKind::Unsupported(format!("its builder needs the attribute `{name}`")))
}

/// Where the output `out` is to be written.
pub(super) fn out(job: &Job<'_>) -> Result<PathBuf, FailureKind> {
    match job.outputs.get("out") {
        Some(path) => Ok(job.built_path(path)),
        None => Err(FailureKind::Unsupported("its builder makes an output `out`".to_owned())),
    }
}
