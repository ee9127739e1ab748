//! `nix-env`: packages of a profile by name, and the profile's generations. nix-env(1).

mod environment;
mod generations;
mod package;
mod query;
mod selection;
mod sources;

pub(crate) use environment::environment;
pub(crate) use generations::list as list_generations;
pub(crate) use selection::split as split_name;
pub(crate) use sources::own_collection;

use crate::eval::Request;
use crate::eval_io::StoreIo;
use crate::nix_front::{Arguments, Front, print_missing, print_version};
use anyhow::{Context as _, Result, bail};
use evaluator::{Arena, EvalIo, Evaluator};
use formats::store_path::StorePath;
use package::{Asking, Package};
use selection::{Selector, chosen, order, split};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use store::Store;
use store::build::Wanted;
use store::profile::Profile;

/// Operations by their flags.
const OPERATIONS: [(&[&str], Operation); 11] = [
    (&["--install", "-i"], Operation::Install),
    (&["--uninstall", "-e"], Operation::Uninstall),
    (&["--upgrade", "-u"], Operation::Upgrade),
    (&["--query", "-q"], Operation::Query),
    (&["--set-flag"], Operation::SetFlag),
    (&["--set"], Operation::Set),
    (&["--rollback"], Operation::Rollback),
    (&["--list-generations"], Operation::ListGenerations),
    (&["--switch-generation", "-G"], Operation::SwitchGeneration),
    (&["--delete-generations"], Operation::DeleteGenerations),
    (&["--switch-profile", "-S"], Operation::SwitchProfile),
];

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Install,
    Uninstall,
    Upgrade,
    Query,
    SetFlag,
    Set,
    Rollback,
    ListGenerations,
    SwitchGeneration,
    DeleteGenerations,
    SwitchProfile,
}

/// Which versions an upgrade takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    Newer,
    NewerOrEqual,
    Equal,
    Always,
}

/// Where packages to install come from, when not by name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    Names,
    Expressions,
    Attributes,
    Profile(PathBuf),
}

/// What the command line says.
#[derive(Debug)]
struct Call {
    flags: BTreeSet<&'static str>,
    words: Vec<String>,
    from: From,
    upgrade: Upgrade,
    preserve: bool,
    remove_all: bool,
    dry_run: bool,
}

/// Everything at work.
struct Session<'s, 'a> {
    front: Front,
    request: &'s Request,
    evaluator: Evaluator<'a>,
    store: Rc<Store>,
    io: Rc<StoreIo>,
    profile: PathBuf,
    system: String,
}

impl<'a> Session<'_, 'a> {
    fn ask(&mut self) -> Asking<'_, 'a> {
        Asking { evaluator: &mut self.evaluator, request: self.request }
    }
}

/// `nix-env …`.
pub(crate) fn nix_env(arguments: &[OsString]) -> Result<ExitCode> {
    let mut arguments = Arguments::new(arguments);
    let mut front = Front::new();
    front.show_logs = false;
    let mut request = Request::default();
    let (mut profile, mut operation) = (None, None);
    let mut call = Call {
        flags: BTreeSet::new(),
        words: Vec::new(),
        from: From::Names,
        upgrade: Upgrade::Newer,
        preserve: false,
        remove_all: false,
        dry_run: false,
    };
    while let Some(argument) = arguments.next() {
        let known = OPERATIONS.iter().find(|(names, _)| names.contains(&argument.as_str()));
        if let Some((_, found)) = known {
            if operation.replace(*found).is_some_and(|earlier| earlier != *found) {
                bail!("only one operation may be specified");
            }
            continue;
        }
        if operation == Some(Operation::Query)
            && let Some(flag) = query::flag(&argument)
        {
            call.flags.insert(flag);
            continue;
        }
        match argument.as_str() {
            "--version" => {
                print_version("nix-env")?;
                return Ok(ExitCode::SUCCESS);
            }
            "-p" | "--profile" => profile = Some(PathBuf::from(arguments.value(&argument)?)),
            "-f" | "--file" => request.sources = vec![arguments.value(&argument)?.into()],
            "--from-expression" | "-E" => call.from = From::Expressions,
            "--from-profile" => call.from = From::Profile(arguments.value(&argument)?.into()),
            "--attr" | "-A" => call.from = From::Attributes,
            "--preserve-installed" | "-P" => call.preserve = true,
            "--remove-all" | "-r" => call.remove_all = true,
            "--prebuilt-only" | "-b" => drop(call.flags.insert("--prebuilt-only")),
            "--lt" => call.upgrade = Upgrade::Newer,
            "--leq" => call.upgrade = Upgrade::NewerOrEqual,
            "--eq" => call.upgrade = Upgrade::Equal,
            "--always" => call.upgrade = Upgrade::Always,
            "--dry-run" => call.dry_run = true,
            _ if front.take(&argument, &mut arguments)? => {}
            _ if request.take(&argument, &mut arguments)? => {}
            flag if flag.starts_with('-') => match operation {
                None => bail!("no operation specified; nix-env has no flag '{flag}' of its own"),
                Some(_) => bail!("unknown flag '{flag}'"),
            },
            _ => call.words.push(argument),
        }
    }
    let Some(operation) = operation else { bail!("no operation specified; see nix-env(1)") };
    let profile = match profile {
        Some(link) => std::path::absolute(link)?,
        None => own_profile()?,
    };
    request.take_settings(&front);
    perform(front, &request, operation, &call, profile)
}

fn perform(
    front: Front,
    request: &Request,
    operation: Operation,
    call: &Call,
    profile: PathBuf,
) -> Result<ExitCode> {
    let generations = Profile::at(&profile);
    match operation {
        Operation::Set => set(&front, request, call, &generations)?,
        Operation::Rollback => {
            let before = generations.current()?;
            let number = generations.rollback()?;
            let before = generations::shown(before);
            writeln!(std::io::stderr(), "switching profile from version {before} to {number}")?;
        }
        Operation::ListGenerations => generations::list(&generations)?,
        Operation::SwitchGeneration => {
            let [number] = call.words.as_slice() else { bail!("exactly one argument expected") };
            let before = generations.current()?;
            let number = number.parse().with_context(|| format!("'{number}' is not a generation"))?;
            generations.switch(number)?;
            let before = generations::shown(before);
            writeln!(std::io::stderr(), "switching profile from version {before} to {number}")?;
        }
        Operation::DeleteGenerations => {
            let doomed = generations::doomed(&generations, &call.words)?;
            for number in &doomed {
                writeln!(std::io::stderr(), "removing profile version {number}")?;
            }
            if !call.dry_run {
                generations.delete(&doomed)?;
            }
        }
        Operation::SwitchProfile => {
            let [link] = call.words.as_slice() else { bail!("exactly one argument expected") };
            let home = std::env::var_os("HOME").context("HOME is not set")?;
            link_profile(&std::path::absolute(link)?, &Path::new(&home).join(".nix-profile"))?;
        }
        Operation::Install
        | Operation::Uninstall
        | Operation::Upgrade
        | Operation::Query
        | Operation::SetFlag => with_packages(front, request, operation, call, profile)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The operations that evaluate.
fn with_packages(
    front: Front,
    request: &Request,
    operation: Operation,
    call: &Call,
    profile: PathBuf,
) -> Result<()> {
    let store = Rc::new(front.open()?);
    let io = Rc::new(StoreIo::new(Rc::clone(&store), front.build_options(&store)));
    let arena = Arena::new();
    let options = request.evaluator_options()?;
    let system = options.system.clone();
    let evaluator = Evaluator::new(&arena, Rc::clone(&io) as Rc<dyn EvalIo>, options);
    let mut session = Session { front, request, evaluator, store, io, profile, system };
    if operation == Operation::Query {
        return query::query(&mut session, call);
    }
    loop {
        let before = current_target(&session.profile);
        let profile = session.profile.clone();
        let installed = session.ask().installed(&profile)?;
        let next = match operation {
            Operation::Install => session.with_installed(call, installed)?,
            Operation::Uninstall => session.without(call, installed)?,
            Operation::Upgrade => session.upgraded(call, installed)?,
            _ => flagged(call, installed)?,
        };
        if call.dry_run || session.install(&next, before.as_ref())? {
            return Ok(());
        }
    }
}

impl<'a> Session<'_, 'a> {
    /// The packages to install.
    fn wanted(&mut self, call: &Call) -> Result<Vec<Package<'a>>> {
        let system = self.system.clone();
        let mut found = Vec::new();
        match &call.from {
            From::Names if call.words.first().is_some_and(|word| word.contains('/')) => {
                for word in &call.words {
                    found.push(Package::of_path(&self.store, &crate::store::resolve(&self.store, word)?)?);
                }
            }
            From::Names => {
                let available = self.ask().available(Some(&system))?;
                found = chosen(&mut self.ask(), &available, &call.words, true, &system)?;
            }
            From::Expressions => {
                let mut ask = self.ask();
                let value = ask.collection()?;
                let arguments = ask.request.auto_arguments(ask.evaluator)?;
                let here = crate::eval::current_directory()?;
                for word in &call.words {
                    let result = ask.evaluator.eval_str(word, here.as_os_str().as_encoded_bytes());
                    let function = ask.explained(result)?;
                    let result = ask.evaluator.call(function, value);
                    let result = ask.explained(result)?;
                    ask.packages(result, arguments, "", &mut found)?;
                }
            }
            From::Attributes => {
                let mut ask = self.ask();
                let value = ask.collection()?;
                let arguments = ask.request.auto_arguments(ask.evaluator)?;
                for word in &call.words {
                    let result = ask.evaluator.select(value, word, arguments);
                    let result = ask.explained(result)?;
                    ask.packages(result, arguments, word, &mut found)?;
                }
            }
            From::Profile(other) => {
                let available = self.ask().installed(&std::path::absolute(other)?)?;
                found = chosen(&mut self.ask(), &available, &call.words, false, &system)?;
            }
        }
        Ok(found)
    }

    fn with_installed(&mut self, call: &Call, installed: Vec<Package<'a>>) -> Result<Vec<Package<'a>>> {
        let new = self.wanted(call)?;
        let names: BTreeSet<String> = new.iter().map(|package| split(&package.name).0).collect();
        let mut next = new.clone();
        for package in installed.into_iter().filter(|_| !call.remove_all) {
            if !call.preserve && names.contains(&split(&package.name).0) {
                writeln!(std::io::stderr(), "replacing old '{}'", package.name)?;
            } else {
                next.push(package);
            }
        }
        for package in &new {
            writeln!(std::io::stderr(), "installing '{}'", package.name)?;
        }
        Ok(next)
    }

    fn without(&mut self, call: &Call, installed: Vec<Package<'a>>) -> Result<Vec<Package<'a>>> {
        let mut doomed: BTreeSet<usize> = BTreeSet::new();
        for word in &call.words {
            let mut found = false;
            if word.contains('/') {
                let path = self.store.dir().print(&crate::store::resolve(&self.store, word)?);
                for (index, package) in installed.iter().enumerate() {
                    if package.out_path(&mut self.ask())?.as_deref() == Some(&path) {
                        found |= doomed.insert(index);
                    }
                }
            } else {
                let selector = Selector::new(word)?;
                for (index, package) in installed.iter().enumerate() {
                    if selector.matches(&package.name) {
                        found = true;
                        doomed.insert(index);
                    }
                }
            }
            if !found && word != "*" {
                writeln!(std::io::stderr(), "warning: selector '{word}' matched no installed derivations")?;
            }
        }
        for index in &doomed {
            if let Some(package) = installed.get(*index) {
                writeln!(std::io::stderr(), "uninstalling '{}'", package.name)?;
            }
        }
        let kept = installed.into_iter().enumerate().filter(|(index, _)| !doomed.contains(index));
        Ok(kept.map(|(_, package)| package).collect())
    }

    fn upgraded(&mut self, call: &Call, installed: Vec<Package<'a>>) -> Result<Vec<Package<'a>>> {
        let system = self.system.clone();
        let available = match &call.from {
            From::Names => {
                let available = self.ask().available(Some(&system))?;
                chosen(&mut self.ask(), &available, &call.words, false, &system)?
            }
            _ => self.wanted(call)?,
        };
        let mut next = Vec::new();
        for package in installed {
            let (name, version) = split(&package.name);
            let mut best: Option<(Package<'a>, i64, String)> = None;
            for other in &available {
                let (other_name, other_version) = split(&other.name);
                if other_name != name || !call.upgrade.takes(order(&version, &other_version)) {
                    continue;
                }
                let priority = other.priority(&mut self.ask())?;
                let better = best.as_ref().is_none_or(|(_, known, newest)| {
                    known.cmp(&priority).then(order(&other_version, newest)) == Ordering::Greater
                });
                if better {
                    best = Some((other.clone(), priority, other_version));
                }
            }
            let Some((best, _, best_version)) = best else {
                next.push(package);
                continue;
            };
            if best.out_path(&mut self.ask())? == package.out_path(&mut self.ask())? {
                next.push(package);
                continue;
            }
            let down = order(&best_version, &version) == Ordering::Less;
            let action = if down { "downgrading" } else { "upgrading" };
            writeln!(std::io::stderr(), "{action} '{}' to '{}'", package.name, best.name)?;
            next.push(best);
        }
        Ok(next)
    }
}

impl Upgrade {
    /// Whether a version that the installed one relates to so is taken.
    fn takes(self, installed: Ordering) -> bool {
        match self {
            Self::Newer => installed == Ordering::Less,
            Self::NewerOrEqual => installed != Ordering::Greater,
            Self::Equal => installed == Ordering::Equal,
            Self::Always => true,
        }
    }
}

/// `--set-flag NAME VALUE PACKAGE…`.
fn flagged<'a>(call: &Call, installed: Vec<Package<'a>>) -> Result<Vec<Package<'a>>> {
    let [name, value, words @ ..] = call.words.as_slice() else {
        bail!("not enough arguments to '--set-flag'")
    };
    let selectors = selection::selectors(words)?;
    let mut next = installed;
    for package in &mut next {
        if selectors.iter().any(|selector| selector.matches(&package.name)) {
            writeln!(std::io::stderr(), "setting flag on '{}'", package.name)?;
            package.set_flag(name, value);
        }
    }
    Ok(next)
}

/// `--set PATH`: what is there becomes the whole profile; a derivation is built, a name looked up.
fn set(front: &Front, request: &Request, call: &Call, profile: &Profile) -> Result<()> {
    let [word] = call.words.as_slice() else { bail!("'--set' requires one argument") };
    let store = Rc::new(front.open()?);
    let options = front.build_options(&store);
    let path = if word.contains('/') {
        crate::store::resolve(&store, word)?
    } else {
        let io = Rc::new(StoreIo::new(Rc::clone(&store), options.clone()));
        let arena = Arena::new();
        let evaluation = request.evaluator_options()?;
        let system = evaluation.system.clone();
        let evaluator = Evaluator::new(&arena, Rc::clone(&io) as Rc<dyn EvalIo>, evaluation);
        let mut session = Session {
            front: Front::new(),
            request,
            evaluator,
            store: Rc::clone(&store),
            io,
            profile: profile.link().to_owned(),
            system,
        };
        let found = session.wanted(call)?;
        let [package] = found.as_slice() else { bail!("--set requires exactly one derivation") };
        let derivation = package.derivation(&mut session.ask())?.or(package.out_path(&mut session.ask())?);
        session.io.flush()?;
        store.dir().parse(&derivation.context("the package has no derivation")?)?
    };
    let target = if path.is_derivation() {
        let requests = [(path.clone(), Wanted::All)];
        let outputs = Front::build(&store, &requests, &options)?.outputs.remove(&path).unwrap_or_default();
        let out = outputs.get("out").or(outputs.values().next()).cloned();
        out.context("the derivation has no output")?
    } else {
        path
    };
    if !call.dry_run {
        profile.set(&store, &target)?;
    }
    Ok(())
}

/// Says what will be built, before an installation.
fn shown_missing(store: &Store, requests: &[(StorePath, Wanted)]) -> Result<()> {
    print_missing(store, requests)
}

/// Makes channels, given as expressions of derivations, the next generation of a profile; those of its present one that
/// are named stay.
pub(crate) fn install_channels(
    front: Front,
    profile: &Path,
    channels: &[String],
    kept: &BTreeSet<String>,
) -> Result<()> {
    let mut request = Request::default();
    request.take_settings(&front);
    let store = Rc::new(front.open()?);
    let io = Rc::new(StoreIo::new(Rc::clone(&store), front.build_options(&store)));
    let arena = Arena::new();
    let options = request.evaluator_options()?;
    let system = options.system.clone();
    let evaluator = Evaluator::new(&arena, Rc::clone(&io) as Rc<dyn EvalIo>, options);
    let request = &request;
    let mut session = Session { front, request, evaluator, store, io, profile: profile.to_owned(), system };
    loop {
        let before = current_target(profile);
        let mut next = session.ask().installed(profile)?;
        next.retain(|package| kept.contains(&package.name));
        let mut ask = session.ask();
        let arguments = ask.evaluator.make_empty_attrs();
        for text in channels {
            let result = ask.evaluator.eval_str(text, b"/");
            let value = ask.explained(result)?;
            ask.packages(value, arguments, "", &mut next)?;
        }
        if session.install(&next, before.as_ref())? {
            return Ok(());
        }
    }
}

/// What a profile points to now.
fn current_target(profile: &Path) -> Option<PathBuf> {
    std::fs::read_link(profile).ok()
}

/// Where a user's own profiles are.
pub(crate) fn profiles_directory() -> Result<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|state| !state.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    let state = state.or_else(home).context("HOME is not set; name a profile with -p")?;
    Ok(state.join("nix/profiles"))
}

/// The profile that `~/.nix-profile` names; where there is no such link, it is made.
pub(crate) fn own_profile() -> Result<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME").context("HOME is not set; name a profile with -p")?);
    let own = home.join(".nix-profile");
    if let Ok(target) = std::fs::read_link(&own) {
        return Ok(home.join(target));
    }
    let profile = profiles_directory()?.join("profile");
    link_profile(&profile, &own)?;
    Ok(profile)
}

/// Makes a link point to a profile, at once.
fn link_profile(profile: &Path, link: &Path) -> Result<()> {
    if let Some(parent) = profile.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    let place = link.with_extension(format!("tmp-{}", std::process::id()));
    std::os::unix::fs::symlink(profile, &place)
        .and_then(|()| std::fs::rename(&place, link))
        .with_context(|| format!("linking {}", link.display()))
}
