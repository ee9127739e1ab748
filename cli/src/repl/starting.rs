//! `:i`, `:sh` and `:u`: what starts another program, which is this one under the names of `nix-env` and `nix-shell`, as
//! `nix repl` starts those.

use super::Session;
use anyhow::{Context as _, Result, bail};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::Ordering;

impl Session<'_> {
    /// Builds a derivation and installs it in the user's profile.
    pub(super) fn install(&mut self, text: &str) -> Result<()> {
        let info = self.written_derivation(text)?;
        self.start("nix-env", &["-i", &info.drv_path])
    }

    /// Builds what a derivation needs, and starts a shell with it.
    pub(super) fn shell(&mut self, text: &str) -> Result<()> {
        let info = self.written_derivation(text)?;
        self.start("nix-shell", &[&info.drv_path])
    }

    /// Builds a package and starts a shell that has it.
    pub(super) fn shell_with(&mut self, text: &str) -> Result<()> {
        let around =
            format!("(import <nixpkgs> {{ }}).runCommand \"shell\" {{ buildInputs = [ ({text}\n) ]; }} \"\"");
        self.shell(&around)
    }

    /// Runs this program under another name, with the terminal; an interrupt is its affair then.
    fn start(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let program = std::env::current_exe().context("finding this program")?;
        let status = Command::new(program)
            .arg0(name)
            .args(arguments)
            .status()
            .with_context(|| format!("starting {name}"))?;
        self.interrupted.store(false, Ordering::Relaxed);
        if !status.success() {
            bail!("{name} ended with {status}");
        }
        Ok(())
    }
}
