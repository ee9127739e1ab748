//! `firn switch`, `boot`, `test`, `dry-activate`, `rollback`, `confirm`: from a configuration (or a finished toplevel) to
//! the running machine and its boot menu. The work is done by the `store`, `bootgen` and the generation's own
//! `activate`; here is the order in which they are called.
//!
//! The order of a switch: everything that can fail without touching anything first (build, the boot menu's plan), then the
//! profile, the activation, and the boot menu last, so that a machine that loses power before the end boots the generation
//! that it ran before.

mod confirmation;
pub(crate) mod profile;

use crate::family::Failure;
use crate::settings::Settings;
use anyhow::{Context as _, Result, bail};
use bootgen::menu_update;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn with_configuration(command: Command) -> Command {
    command
        .arg(Arg::new("configuration").value_name("CONFIGURATION").help(
            "The configuration [default: $NIXOS_CONFIG, /etc/nixos/flake.nix, /etc/nixos/configuration.nix]",
        ))
        .arg(
            Arg::new("toplevel")
                .long("toplevel")
                .value_name("PATH")
                .conflicts_with("configuration")
                .help("Take this finished system instead of building one"),
        )
        .arg(
            Arg::new("specialisation")
                .long("specialisation")
                .value_name("NAME")
                .help("Take this variant of it"),
        )
        .args(crate::build::build_arguments())
}

/// `firn switch`.
pub(crate) fn switch_command() -> Command {
    let confirm = Arg::new("confirm")
        .long("confirm")
        .value_name("TIME")
        .help("Go back by itself unless `firn confirm` is run within TIME (60s, 2min)");
    with_configuration(
        Command::new("switch").about("Build a configuration, switch to it, and make it the boot default"),
    )
    .arg(confirm)
    .arg(
        Arg::new("no-revert")
            .long("no-revert")
            .action(ArgAction::SetTrue)
            .help("Stay on the new generation though a unit that ran before fails"),
    )
}

/// `firn boot`.
pub(crate) fn boot_command() -> Command {
    with_configuration(
        Command::new("boot")
            .about("Build a configuration and make it the boot default; the running system stays"),
    )
}

/// `firn test`.
pub(crate) fn test_command() -> Command {
    with_configuration(
        Command::new("test").about("Build a configuration and switch to it; the next boot is as before"),
    )
    .arg(
        Arg::new("no-revert")
            .long("no-revert")
            .action(ArgAction::SetTrue)
            .help("Stay on the new generation though a unit that ran before fails"),
    )
}

/// `firn dry-activate`.
pub(crate) fn dry_activate_command() -> Command {
    with_configuration(
        Command::new("dry-activate").about("Build a configuration and show what a switch would do"),
    )
}

/// `firn rollback`.
pub(crate) fn rollback_command() -> Command {
    Command::new("rollback")
        .about("Switch to the generation before the current one, or to number N")
        .arg(Arg::new("number").value_name("N").value_parser(clap::value_parser!(u64)))
        .arg(
            Arg::new("boot-only")
                .long("boot-only")
                .action(ArgAction::SetTrue)
                .help("Only make it the boot default"),
        )
}

/// `firn confirm`.
pub(crate) fn confirm_command() -> Command {
    confirmation::command()
}

/// Runs `firn confirm`.
pub(crate) fn confirm(matches: &ArgMatches) -> Result<ExitCode> {
    confirmation::run(matches)
}

/// Runs `firn switch`.
pub(crate) fn switch(matches: &ArgMatches) -> Result<ExitCode> {
    let machine = Machine::of(Settings::current()?);
    let confirm =
        matches.get_one::<String>("confirm").map(|text| confirmation::parse_time(text)).transpose()?;
    let base = machine.toplevel(matches)?;
    let toplevel = variant(&machine, &base, matches)?;
    outlive_the_terminal()?;
    machine.switch_to(&base, &toplevel, confirm, matches.get_flag("no-revert"))
}

/// Runs `firn boot`.
pub(crate) fn boot(matches: &ArgMatches) -> Result<ExitCode> {
    let machine = Machine::of(Settings::current()?);
    let toplevel = machine.toplevel(matches)?;
    let before = machine.current_generation()?;
    let number = machine.set_profile(&toplevel)?;
    let updated = machine.update_menu(Some(number), false);
    if updated.is_err() {
        machine.restore_profile(before, number)?;
    }
    say(&format!("generation {number} boots next{}", shown(updated?.as_ref())));
    Ok(ExitCode::SUCCESS)
}

/// Runs `firn test`.
pub(crate) fn test(matches: &ArgMatches) -> Result<ExitCode> {
    let machine = Machine::of(Settings::current()?);
    let toplevel = variant(&machine, &machine.toplevel(matches)?, matches)?;
    machine.activate(&toplevel, "test", matches.get_flag("no-revert")).map(ExitCode::from)
}

/// Runs `firn dry-activate`.
pub(crate) fn dry_activate(matches: &ArgMatches) -> Result<ExitCode> {
    let machine = Machine::of(Settings::current()?);
    let toplevel = variant(&machine, &machine.toplevel(matches)?, matches)?;
    machine.activate(&toplevel, "dry-activate", false).map(ExitCode::from)
}

/// Runs `firn rollback`.
pub(crate) fn rollback(matches: &ArgMatches) -> Result<ExitCode> {
    let machine = Machine::of(Settings::current()?);
    let generations = machine.generations()?;
    let current = machine.current_generation()?;
    let number = if let Some(number) = matches.get_one::<u64>("number") {
        *number
    } else {
        let older = |number: u64| current.is_some_and(|current| number < current);
        let before = generations.iter().rfind(|generation| older(generation.number));
        before.map(|generation| generation.number).context("there is no generation before the current one")?
    };
    let Some(generation) = generations.iter().find(|generation| generation.number == number) else {
        let known: Vec<String> = generations.iter().map(|generation| generation.number.to_string()).collect();
        bail!("there is no generation {number}; there are {}", known.join(", "));
    };
    if matches.get_flag("boot-only") {
        let updates = machine.update_menu(Some(number), false)?;
        machine.point_profile(number)?;
        say(&format!("generation {number} boots next{}", shown(updates.as_ref())));
        return Ok(ExitCode::SUCCESS);
    }
    outlive_the_terminal()?;
    // The plan first: a menu that cannot be written must be known before anything stops.
    machine.update_menu(Some(number), true)?;
    let code = machine.activate(&generation.target, "switch", true)?;
    if !machine.runs(&generation.target)? {
        return Err(failure(
            code,
            format!("the machine stays on the generation that it ran; {number} was not activated"),
        ));
    }
    machine.point_profile(number)?;
    machine.update_menu(Some(number), false)?;
    say(&format!("switched to generation {number}"));
    Ok(ExitCode::from(code))
}

/// The generation that waits to be confirmed.
pub(crate) fn unconfirmed(machine: &Machine) -> Result<Option<u64>> {
    Ok(confirmation::pending(machine)?.map(|pending| pending.number))
}

/// The system below one root directory.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    root: PathBuf,
    installing: bool,
}

impl Machine {
    /// The system that the settings name.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self { root: settings.store_root.clone(), installing: false }
    }

    /// A system that is being installed, mounted at this directory.
    pub(crate) fn being_installed(root: &Path) -> Self {
        Self { root: root.to_path_buf(), installing: true }
    }

    /// Its root directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// An absolute path of the system on this machine.
    pub(crate) fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The toplevel to use, as a path inside the system: given, or built.
    fn toplevel(&self, matches: &ArgMatches) -> Result<PathBuf> {
        if let Some(given) = matches.get_one::<String>("toplevel") {
            return self.inside(Path::new(given));
        }
        // A thread of its own, as for every access to the store: see `profile`.
        let configuration = matches.get_one::<String>("configuration").map(Path::new);
        let built = std::thread::scope(|scope| {
            let build = scope.spawn(|| crate::build::toplevel(matches, configuration));
            build.join().map_err(|_| anyhow::anyhow!("the build's thread ended unexpectedly"))?
        })?;
        Ok(Path::new("/nix/store").join(built.base_name()))
    }

    /// A toplevel by any path that leads to it, as the store path inside the machine.
    fn inside(&self, given: &Path) -> Result<PathBuf> {
        let candidates = [given.to_path_buf(), self.place(&given.to_string_lossy())];
        let Some(found) = candidates.iter().find(|candidate| candidate.join("activation.json").exists())
        else {
            bail!("{} is no system: it has no activation.json", given.display());
        };
        let real = found.canonicalize().with_context(|| found.display().to_string())?;
        let root = self.root.canonicalize().with_context(|| self.root.display().to_string())?;
        Ok(Path::new("/").join(real.strip_prefix(&root).unwrap_or(&real)))
    }

    /// A toplevel that links in the system lead to, as the store path inside it.
    pub(crate) fn system_inside(&self, path: &Path) -> Result<PathBuf> {
        let root = activate::root::Root::new(&self.root);
        Ok(activate::toplevel::Toplevel::read(&root, path)?.path)
    }

    fn switch_to(
        &self,
        base: &Path,
        toplevel: &Path,
        confirm: Option<std::time::Duration>,
        no_revert: bool,
    ) -> Result<ExitCode> {
        let before = self.current_generation()?;
        let running = self.running()?;
        let number = self.set_profile(base)?;
        if let Err(error) = self.update_menu(Some(number), true) {
            self.restore_profile(before, number)?;
            return Err(error.context("nothing was changed"));
        }
        let code = match self.activate(toplevel, "switch", no_revert) {
            Ok(code) => code,
            Err(error) => {
                self.restore_profile(before, number)?;
                return Err(error);
            }
        };
        if !self.runs(toplevel)? {
            self.restore_profile(before, number)?;
            return Err(failure(
                code,
                "the machine stays on the generation that it ran, also at the next boot".to_owned(),
            ));
        }
        if let Some(time) = confirm {
            confirmation::await_in_background(self, time, number, before, running.as_deref())?;
            say(&format!(
                "switched to generation {number}; run `firn confirm` within {}s or it goes back by itself",
                time.as_secs()
            ));
            return Ok(ExitCode::from(code));
        }
        let updates = self.update_menu(Some(number), false)?;
        say(&format!("switched to generation {number}{}", shown(updates.as_ref())));
        Ok(ExitCode::from(code))
    }

    /// Runs the toplevel's own `activate`. It outlives a terminal that goes away.
    pub(crate) fn activate(&self, toplevel: &Path, action: &str, no_revert: bool) -> Result<u8> {
        let program = self.program_of(toplevel)?;
        let mut command = std::process::Command::new(&program);
        command.arg(action).arg("--toplevel").arg(toplevel).arg("--root").arg(&self.root);
        if no_revert {
            command.arg("--no-revert");
        }
        let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
        if matches!(action, "switch" | "test") && self.root == Path::new("/") {
            for problem in crate::service::enabled::start_again() {
                say(&problem);
            }
        }
        match status.code() {
            Some(code) => Ok(u8::try_from(code).unwrap_or(1)),
            None => bail!("{} was killed ({status}); `firn status` says how far it came", program.display()),
        }
    }

    /// Its `activate`: a link that means a file of this system's store, wherever that is seen from here.
    fn program_of(&self, toplevel: &Path) -> Result<PathBuf> {
        let link = self.place(&toplevel.to_string_lossy()).join("activate");
        let inside = activate::root::Root::new(&self.root).resolve(toplevel.join("activate"))?;
        Ok(if inside.exists() { inside } else { link })
    }

    /// The generation that runs, as a path inside the machine.
    pub(crate) fn running(&self) -> Result<Option<PathBuf>> {
        match std::fs::read_link(self.place("/run/current-system")) {
            Ok(target) => Ok(Some(target)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("/run/current-system"),
        }
    }

    fn runs(&self, toplevel: &Path) -> Result<bool> {
        Ok(self.running()?.as_deref() == Some(toplevel))
    }

    /// Updates the boot menu, or only plans it. A system without a boot loader has nothing to update.
    pub(crate) fn update_menu(
        &self,
        default: Option<u64>,
        dry_run: bool,
    ) -> Result<Option<menu_update::Updates>> {
        let options = menu_update::Options {
            root: self.root.clone(),
            profile: profile::SYSTEM.to_owned(),
            default,
            dry_run,
            check: false,
            installing: self.installing,
            trusted: crate::secure_boot::trusted(self),
        };
        match menu_update::update(&options) {
            Ok(updates) => {
                for update in &updates.partitions {
                    update.plan.notices.iter().for_each(|notice| say(&format!("note: {notice}")));
                }
                Ok(Some(updates))
            }
            Err(menu_update::UpdateError::Plan(bootgen::plan::PlanError::NoLoader)) => {
                log::info!("no boot loader is configured");
                Ok(None)
            }
            Err(error) => Err(anyhow::Error::new(error).context("the boot menu")),
        }
    }
}

/// The toplevel or its specialisation.
fn variant(machine: &Machine, toplevel: &Path, matches: &ArgMatches) -> Result<PathBuf> {
    let Some(name) = matches.get_one::<String>("specialisation") else { return Ok(toplevel.to_path_buf()) };
    let link = toplevel.join("specialisation").join(name);
    machine.inside(&link).with_context(|| format!("the system has no specialisation `{name}`"))
}

fn shown(updates: Option<&menu_update::Updates>) -> String {
    match updates {
        None => " (no boot loader is configured: the boot menu was not touched)".to_owned(),
        Some(updates) if updates.partitions.iter().all(|update| update.plan.steps.is_empty()) => {
            String::new()
        }
        Some(updates) => {
            let steps: usize = updates.partitions.iter().map(|update| update.plan.steps.len()).sum();
            format!(" (boot menu: {steps} changes)")
        }
    }
}

pub(crate) fn failure(code: u8, message: String) -> anyhow::Error {
    Failure { code: code.max(1), message }.into()
}

/// From here on a switch is finished though the terminal goes away: it may be a switch that restarts the network.
fn outlive_the_terminal() -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGPIPE, SIGTERM] {
        signal_hook::flag::register(signal, std::sync::Arc::clone(&asked))
            .with_context(|| format!("cannot set signal {signal} aside"))?;
    }
    Ok(())
}

/// Talk goes to stderr, where nobody may be listening any more.
pub(crate) fn say(text: &str) {
    if let Err(error) = writeln!(std::io::stderr(), "{text}") {
        log::trace!("stderr: {error}");
    }
}
