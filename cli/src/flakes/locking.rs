//! Locking a flake: the flags that say how, and what becomes of the new lock file. It is written whole or not at all, and
//! committed if asked for. Nix manual, `nix flake`, "Lock files"; the options of nix3-build(1).

use super::words;
use crate::nix_conf::NixConf;
use crate::nix_front::Arguments;
use anyhow::{Context as _, Result, bail};
use evaluator::Evaluator;
use evaluator::flake::{LockFlags, LockedFlake};
use formats::flake::{FlakeRef, lock};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a flake is locked, and what is written.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Locking {
    pub(crate) flags: LockFlags,
    /// Whether the lock file may change.
    pub(crate) update: bool,
    /// Whether it may be written.
    pub(crate) write: bool,
    /// Whether it is committed.
    pub(crate) commit: bool,
    /// Where it is written instead.
    pub(crate) output: Option<PathBuf>,
    /// Whether an input that cannot be locked is an error.
    pub(crate) strict: bool,
    /// Flakes whose inputs are to be used for those of the same name.
    pub(crate) inputs_from: Vec<String>,
    /// Whether the flake's own settings count.
    pub(crate) apply_settings: bool,
    /// Whether a lock file that is not written is no matter.
    pub(crate) quiet: bool,
}

impl Default for Locking {
    fn default() -> Self {
        let flags = LockFlags { registries: true, allow_unlocked: true, ..LockFlags::default() };
        Self {
            flags,
            update: true,
            write: true,
            commit: false,
            output: None,
            strict: false,
            inputs_from: Vec::new(),
            apply_settings: true,
            quiet: false,
        }
    }
}

impl Locking {
    /// Takes a flag. False when it is not one.
    pub(crate) fn take(&mut self, flag: &str, arguments: &mut Arguments) -> Result<bool> {
        match flag {
            "--recreate-lock-file" => self.flags.recreate = true,
            "--no-update-lock-file" => self.update = false,
            "--no-write-lock-file" => self.write = false,
            "--no-registries" | "--no-use-registries" => self.flags.registries = false,
            "--commit-lock-file" => self.commit = true,
            "--update-input" => {
                let path = lock::parse_input_path(&arguments.value(flag)?)?;
                self.flags.updates.insert(path);
            }
            "--override-input" => {
                let path = lock::parse_input_path(&arguments.value(flag)?)?;
                let here = crate::eval::current_directory()?;
                let reference = words::flake(&arguments.value(flag)?, &here)?;
                self.flags.overrides.insert(path, reference);
                self.write = false;
            }
            "--reference-lock-file" => {
                let name = arguments.value(flag)?;
                let text = std::fs::read_to_string(&name).with_context(|| format!("reading {name}"))?;
                self.flags.reference_lock = Some((text, name));
            }
            "--output-lock-file" => self.output = Some(arguments.value(flag)?.into()),
            "--inputs-from" => self.inputs_from.push(arguments.value(flag)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Lets names mean what they mean to the flakes of `--inputs-from`.
    fn take_inputs(&mut self, evaluator: &mut Evaluator<'_>) -> Result<()> {
        for text in std::mem::take(&mut self.inputs_from) {
            let reference = words::flake(&text, &crate::eval::current_directory()?)?;
            let plain = Self { write: false, apply_settings: false, ..Self::default() };
            let locked = plain.locked(evaluator, &reference)?;
            let Some(root) = locked.lock.nodes.first() else { continue };
            for name in root.inputs.keys() {
                let found = locked.lock.find(std::slice::from_ref(name))?;
                let node = found.and_then(|index| locked.lock.nodes.get(index)?.locked.as_ref());
                if let Some(node) = node {
                    let from = FlakeRef::parse(&format!("flake:{name}"), true, false)?;
                    super::registries::override_flake(&from, &node.locked);
                }
            }
        }
        Ok(())
    }

    /// Locks a flake, and writes its lock file if that changed.
    pub(crate) fn lock(
        &mut self,
        evaluator: &mut Evaluator<'_>,
        reference: &FlakeRef,
    ) -> Result<LockedFlake> {
        self.take_inputs(evaluator)?;
        let locked = self.locked(evaluator, reference)?;
        if self.apply_settings {
            super::settings::apply(&locked.flake.settings);
        }
        Ok(locked)
    }

    fn locked(&self, evaluator: &mut Evaluator<'_>, reference: &FlakeRef) -> Result<LockedFlake> {
        let mut flags = self.flags.clone();
        let conf = NixConf::load();
        flags.registries &= conf.flag("use-registries", true);
        flags.allow_dirty_locks |= conf.flag("allow-dirty-locks", false);
        if flags.reference_lock.is_some() && !conf.flag("allow-dirty", true) {
            bail!("reference lock file was provided, but the `allow-dirty` setting is set to false");
        }
        let explain = |error: evaluator::EvalError| crate::eval::explained(&error);
        let mut locked = evaluator.lock_flake(reference, &flags).map_err(explain)?;
        if locked.lock == locked.old_lock && self.output.is_none() {
            return Ok(locked);
        }
        let changes = lock::diff(&locked.old_lock, &locked.lock);
        let changes = changes.trim_end();
        if !self.write && self.output.is_none() {
            if !self.quiet {
                log::warn!("not writing modified lock file of flake '{reference}':\n{changes}");
            }
            locked.is_dirty = true;
            return Ok(locked);
        }
        if let Some(unlocked) = locked.lock.unlocked_input().filter(|_| !flags.allow_dirty_locks) {
            if self.strict {
                bail!(
                    "Not writing lock file of flake '{reference}' because it has an unlocked input ('{unlocked}'). Use \
                     '--allow-dirty-locks' to allow this anyway."
                );
            }
            if conf.flag("warn-dirty", true) {
                log::warn!(
                    "not writing lock file of flake '{reference}' because it has an unlocked input ('{unlocked}')"
                );
            }
            return Ok(locked);
        }
        let place = source_directory(reference);
        if place.is_none() && self.output.is_none() {
            bail!(
                "cannot write modified lock file of flake '{reference}' (use '--no-write-lock-file' to ignore)"
            );
        }
        if !self.update {
            bail!(
                "flake '{reference}' requires lock file changes but they're not allowed due to '--no-update-lock-file'"
            );
        }
        let text = format!("{}\n", locked.lock.to_text());
        match (&self.output, place) {
            (Some(_), _) if self.commit => {
                bail!("'--commit-lock-file' and '--output-lock-file' are incompatible")
            }
            (Some(output), _) => replace(output, &text)?,
            (None, Some(place)) => self.write_beside(reference, &place, &text, changes)?,
            (None, None) => {}
        }
        // With the new lock file in it the tree is another one.
        let before = locked.flake.locked.input.text("rev").map(str::to_owned);
        let flake = evaluator.fetch_flake(reference, flags.registries).map_err(explain)?;
        let after = flake.locked.input.text("rev").map(str::to_owned);
        if let Some(after) = after.filter(|after| self.commit && before.as_ref() != Some(after)) {
            log::warn!("committed new revision '{after}'");
        }
        locked.replace_flake(flake);
        Ok(locked)
    }

    /// Writes the lock file next to the `flake.nix`.
    fn write_beside(&self, reference: &FlakeRef, place: &Path, text: &str, changes: &str) -> Result<()> {
        let within =
            if reference.subdir.is_empty() { String::new() } else { format!("{}/", reference.subdir) };
        let name = format!("{within}flake.lock");
        let file = place.join(&name);
        let existed = file.symlink_metadata().is_ok();
        match (existed, changes.is_empty()) {
            (true, true) => log::warn!("updating lock file \"{}\"", file.display()),
            (true, false) => log::warn!("updating lock file \"{}\":\n{changes}", file.display()),
            (false, _) => log::warn!("creating lock file \"{}\": \n{changes}", file.display()),
        }
        replace(&file, text)?;
        if reference.input.kind() != "git" {
            return Ok(());
        }
        let git = |words: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(place).args(words).arg("--").arg(&name).env_remove("GIT_DIR");
            command
        };
        // What git is told to ignore is not added.
        if git(&["check-ignore", "--quiet"]).status().context("starting git")?.success() {
            return Ok(());
        }
        run(&mut git(&["add", "--intent-to-add"]), None)?;
        if !self.commit {
            return Ok(());
        }
        let conf = NixConf::load();
        let summary = conf.text("commit-lock-file-summary").or_else(|| conf.text("commit-lockfile-summary"));
        let summary = match summary.filter(|summary| !summary.is_empty()) {
            Some(summary) => summary.to_owned(),
            None => format!("{name}: {}", if existed { "Update" } else { "Add" }),
        };
        let message = format!("{summary}\n\nFlake lock file updates:\n\n{changes}\n");
        run(&mut git(&["commit", "--quiet", "-F", "-"]), Some(&message))
    }
}

fn run(command: &mut Command, input: Option<&str>) -> Result<()> {
    let words = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let mut child = command.stdin(Stdio::piped()).spawn().context("starting git")?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input.unwrap_or_default().as_bytes()).context("writing to git")?;
    }
    let status = child.wait().context("waiting for git")?;
    if !status.success() {
        bail!("git {words} failed: {status}");
    }
    Ok(())
}

/// Writes a file whole or not at all.
fn replace(file: &Path, text: &str) -> Result<()> {
    let context = || format!("writing {}", file.display());
    // A link is followed: the file that it leads to is the one that is meant.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut name = file.clone().into_os_string();
    name.push(".new");
    let new = PathBuf::from(name);
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &file)).with_context(context)
}

/// The directory that a flake can be changed in.
pub(crate) fn source_directory(reference: &FlakeRef) -> Option<PathBuf> {
    let input = &reference.input;
    match input.kind() {
        "path" => input.text("path").filter(|path| path.starts_with('/')).map(PathBuf::from),
        "git" if std::env::var_os("_NIX_FORCE_HTTP").is_none() => {
            let url = formats::flake::url::Url::parse(input.text("url")?).ok()?;
            let path = PathBuf::from(url.path_text());
            (url.scheme == "file" && path.join(".git").exists()).then_some(path)
        }
        _ => None,
    }
}
