//! The EFI programs on the boot partitions, and whether the firmware would start them: `firn secure-boot verify`.

use crate::json;
use crate::machine::Machine;
use anyhow::{Context as _, Result};
use bootgen::secure_boot::authenticode;
use bootgen::secure_boot::firmware::Firmware;
use bootgen::secure_boot::key_bundle::{KeyBundle, Role};
use bootgen::secure_boot::keys::Certificate;
use clap::ArgMatches;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// One program.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    /// Whose key signed it.
    signer: Option<String>,
    /// Why the firmware would not start it; nothing: it would.
    pub(super) problem: Option<String>,
}

impl Program {
    fn check(path: PathBuf, trusted: &[Certificate]) -> Result<Self> {
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (signer, problem) = match authenticode::verify(&bytes, trusted) {
            Ok(signer) => (Some(signer.name()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Ok(Self { path, signer, problem })
    }

    /// It in a line.
    pub(super) fn line(&self) -> String {
        match (&self.problem, &self.signer) {
            (Some(problem), _) => format!("{}: {problem}", self.path.display()),
            (None, Some(signer)) => format!("{}: signed by {signer}", self.path.display()),
            (None, None) => format!("{}: signed", self.path.display()),
        }
    }

    /// It in JSON.
    pub(super) fn as_json(&self) -> serde_json::Value {
        serde_json::json!({
            "path": self.path, "signed": self.problem.is_none(), "signer": self.signer, "problem": self.problem,
        })
    }
}

/// `firn secure-boot verify`: exit code 1 when one of them would not start.
pub(super) fn verify(machine: &Machine, keys: &KeyBundle, matches: &ArgMatches) -> Result<ExitCode> {
    let given: Vec<PathBuf> = matches.get_many("file").unwrap_or_default().cloned().collect();
    // Without the firmware (on another machine, or as a user) the owner's keys alone count.
    let firmware = super::firmware(machine).unwrap_or_else(|error| {
        log::debug!("{error:#}");
        Firmware::at(Path::new("/nonexistent"))
    });
    let programs = if given.is_empty() {
        all(machine, keys, &firmware)?
    } else {
        let trusted = trusted(keys, &firmware);
        given.into_iter().map(|path| Program::check(path, &trusted)).collect::<Result<_>>()?
    };
    if matches.get_flag("json") {
        json::print(&programs.iter().map(Program::as_json).collect::<Vec<_>>())?;
    } else {
        let mut output = std::io::stdout().lock();
        for program in &programs {
            writeln!(output, "{}", program.line())?;
        }
    }
    let fine = programs.iter().all(|program| program.problem.is_none());
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All programs on the booted system's boot partitions.
pub(super) fn all(machine: &Machine, keys: &KeyBundle, firmware: &Firmware) -> Result<Vec<Program>> {
    let Ok(loader) = crate::bootmenu::booted_loader(machine) else { return Ok(Vec::new()) };
    let trusted = trusted(keys, firmware);
    let mut programs = Vec::new();
    for partition in crate::bootmenu::partitions_of(machine, &loader) {
        let mut files = Vec::new();
        programs_below(&partition, &mut files)
            .with_context(|| format!("cannot list {}", partition.display()))?;
        files.sort();
        for file in files {
            programs.push(Program::check(file, &trusted)?);
        }
    }
    Ok(programs)
}

/// The owner's certificate, and those that are enrolled.
fn trusted(keys: &KeyBundle, firmware: &Firmware) -> Vec<Certificate> {
    let own = keys.read(Role::Database).ok().map(|own| own.certificate().clone());
    own.into_iter().chain(firmware.enrolled(Role::Database).unwrap_or_default()).collect()
}

fn programs_below(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            programs_below(&path, files)?;
        } else if kind.is_file()
            && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("efi"))
        {
            files.push(path);
        }
    }
    Ok(())
}
