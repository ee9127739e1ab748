//! The steps of an activation in their order: accounts, /etc, the machine's identity, the kernel's settings, tmpfiles,
//! wrappers, snippets, and last the links that say which generation runs. Each step plans, then applies; one that fails
//! is reported and keeps none of the later ones from being tried, since a machine that boots halfway can be mended.

use crate::accounts::{self, Names};
use crate::error::{Error, Result};
use crate::root::Root;
use crate::toplevel::{CURRENT_SYSTEM, Toplevel};
use crate::{durable, etc, kernel, snippets, tmpfiles, wrappers};
use std::path::{Path, PathBuf};

/// Why an activation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// PID 1 starts the machine.
    Boot,
    /// A running machine moves to the generation.
    Switch,
    /// The same, but the boot menu stays as it is.
    Test,
    /// Nothing is changed; the plan is shown.
    DryActivate,
}

impl Action {
    /// The action's name on the command line and in `NIXOS_ACTION`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Switch => "switch",
            Self::Test => "test",
            Self::DryActivate => "dry-activate",
        }
    }

    /// The action of that name.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Boot, Self::Switch, Self::Test, Self::DryActivate]
            .into_iter()
            .find(|action| action.word() == word)
    }
}

/// What was done, or would be.
#[derive(Debug, Default)]
pub struct Report {
    /// Changes, one line each, grouped by step.
    pub changes: Vec<String>,
    /// Remarks that are no failures.
    pub notices: Vec<String>,
    /// What failed.
    pub problems: Vec<Error>,
}

impl Report {
    fn step(&mut self, name: &str, result: Result<Vec<String>>) {
        match result {
            Ok(changes) => self.changes.extend(changes.into_iter().map(|change| format!("{name}: {change}"))),
            Err(error) => self.problems.push(error),
        }
    }
}

/// Directories that every machine has, with their modes.
const DIRECTORIES: [(&str, u32); 12] = [
    ("/etc", 0o755),
    ("/run", 0o755),
    ("/var", 0o755),
    ("/var/lib", 0o755),
    ("/var/lib/firn", 0o755),
    ("/var/log", 0o755),
    ("/var/empty", 0o555),
    ("/tmp", 0o1777),
    ("/var/tmp", 0o1777),
    ("/root", 0o700),
    ("/home", 0o755),
    ("/usr/bin", 0o755),
];

/// Computes what an activation would do to /etc, accounts and wrappers; changes nothing.
///
/// # Errors
/// When the configuration cannot be carried out on this root.
pub fn preview(root: &Root, toplevel: &Toplevel) -> Result<Report> {
    let mut report = Report::default();
    let activation = &toplevel.activation;
    let account_changes = accounts::changes(root, activation)?;
    report.step("accounts", Ok(describe_accounts(&account_changes)));
    report.notices.extend(account_changes.notices.iter().cloned());
    let names = Names::of(&account_changes.wanted);
    let etc_plan = etc::changes(root, &toplevel.path, activation, &names)?;
    report.step("etc", Ok(etc_plan.changes.iter().map(ToString::to_string).collect()));
    report.notices.extend(etc_plan.notices.iter().cloned());
    report.step("wrappers", wrappers::changes(root, activation, &names).map(|plan| plan.names));
    snippets::order(&activation.snippets)?;
    Ok(report)
}

/// Carries the whole activation out.
pub fn run(root: &Root, toplevel: &Toplevel, action: Action) -> Report {
    let mut report = Report::default();
    let activation = &toplevel.activation;
    report.step("directories", make_directories(root));
    let names = match accounts::changes(root, activation) {
        Ok(changes) => {
            let described = describe_accounts(&changes);
            report.notices.extend(changes.notices.iter().cloned());
            report.step("accounts", accounts::apply(root, &changes).map(|()| described));
            Names::of(&changes.wanted)
        }
        Err(error) => {
            report.problems.push(error);
            accounts::observe(root).map(|present| Names::of(&present)).unwrap_or_default()
        }
    };
    let etc = etc::changes(root, &toplevel.path, activation, &names).and_then(|plan| {
        report.notices.extend(plan.notices.iter().cloned());
        etc::apply(root, &plan)?;
        Ok(plan.changes.iter().map(ToString::to_string).collect())
    });
    report.step("etc", etc);
    report.step("machine-id", machine_id(root));
    report.step("links", system_links(root, toplevel));
    report.step("host name", host_name(root, &activation.host_name));
    report.step("kernel", kernel::set_paths(root, &toplevel.path, &activation.sysctl).map(|()| Vec::new()));
    report.notices.extend(kernel::load_modules(root, &toplevel.path, &activation.kernel_modules));
    let (written, problems) = kernel::apply_sysctl(root, &activation.sysctl);
    report.step("sysctl", Ok(written));
    report.notices.extend(problems);
    let occasion = if action == Action::Boot { tmpfiles::Occasion::Boot } else { tmpfiles::Occasion::Switch };
    let outcome = tmpfiles::apply(root, &activation.tmpfiles, &names, &activation.host_name, occasion);
    report.step("tmpfiles", Ok(outcome.changed));
    report.problems.extend(outcome.problems);
    let wrappers = wrappers::changes(root, activation, &names).and_then(|plan| {
        wrappers::apply(root, &plan)?;
        Ok(plan.names)
    });
    report.step("wrappers", wrappers);
    report.problems.extend(snippets::run(root, activation, &toplevel.path, action.word()));
    report.step("generation", current_system(root, &toplevel.path));
    report
}

fn describe_accounts(changes: &accounts::Changes) -> Vec<String> {
    let mut described: Vec<String> = changes
        .files
        .iter()
        .map(|file| match file.names.as_slice() {
            [] => format!("write {}", file.path),
            names => format!("write {} ({})", file.path, names.join(" ")),
        })
        .collect();
    described.extend(changes.homes.iter().map(|home| format!("home {}", home.path)));
    described
}

fn make_directories(root: &Root) -> Result<Vec<String>> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut made = Vec::new();
    for (path, mode) in DIRECTORIES {
        let place = root.resolve(path)?;
        if place.is_dir() {
            continue;
        }
        durable::make_directories(&place)?;
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(mode))
            .map_err(Error::file("set the mode of", &place))?;
        made.push(format!("make {path}"));
    }
    Ok(made)
}

/// machine-id(5): made once, from the kernel's random numbers, unless an administrator or the image gave one.
fn machine_id(root: &Root) -> Result<Vec<String>> {
    let place = root.resolve("/etc/machine-id")?;
    let present = durable::read_if_there(&place)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&present);
    let valid = text.trim_end().len() == 32 && text.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit());
    if valid && text.trim_end().bytes().any(|byte| byte != b'0') {
        return Ok(Vec::new());
    }
    let mut random = [0u8; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(Error::call("draw random numbers for", &place))?;
    // A version 4 UUID, as systemd's machine-id-setup makes them.
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let id = format!("{:032x}\n", u128::from_be_bytes(random));
    durable::write(&place, id.as_bytes(), 0o444, root.sets_owners().then_some((0, 0)))?;
    Ok(vec!["make /etc/machine-id".to_owned()])
}

/// The two paths that programs outside the store rely on.
fn system_links(root: &Root, toplevel: &Toplevel) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for (link, declared, default) in [
        ("/bin/sh", &toplevel.activation.bin_sh, "sw/bin/sh"),
        ("/usr/bin/env", &toplevel.activation.usr_bin_env, "sw/bin/env"),
    ] {
        let target = if let Some(path) = declared {
            PathBuf::from(path)
        } else {
            if !root.resolve(toplevel.path.join(default))?.is_file() {
                continue;
            }
            // busybox and its like go by the name they are called with: link to the name, not to the file.
            root.inside(&root.resolve_parent(toplevel.path.join(default))?)
        };
        let place = root.resolve_parent(link)?;
        if std::fs::read_link(&place).is_ok_and(|present| present == target) {
            continue;
        }
        if let Some(parent) = place.parent() {
            durable::make_directories(parent)?;
        }
        durable::link(&target, &place)?;
        durable::sync_parent(&place)?;
        changed.push(format!("link {link} → {}", target.display()));
    }
    Ok(changed)
}

fn host_name(root: &Root, name: &str) -> Result<Vec<String>> {
    let set = kernel::set_host_name(root, name)?;
    Ok(if set { vec![format!("set to `{name}`")] } else { Vec::new() })
}

/// `/run/current-system`, and the root that keeps the collector from it.
fn current_system(root: &Root, toplevel: &Path) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for (link, target) in [
        (CURRENT_SYSTEM, toplevel),
        ("/nix/var/nix/gcroots/current-system", Path::new(CURRENT_SYSTEM)),
        ("/nix/var/nix/gcroots/booted-system", Path::new("/run/booted-system")),
    ] {
        let place = root.join(link);
        let parent = place.parent().unwrap_or(Path::new("/"));
        if std::fs::read_link(&place).is_ok_and(|present| present == target) {
            continue;
        }
        if link != CURRENT_SYSTEM && !root.join("/nix/var/nix").is_dir() {
            continue;
        }
        durable::make_directories(parent)?;
        durable::link(target, &place)?;
        changed.push(format!("link {link} → {}", target.display()));
    }
    Ok(changed)
}
