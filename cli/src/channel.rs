//! `firn channel`: where packages come from. A channel is an index of a Debian suite (design §5), made from the archive
//! that the machine's own apt configuration names, or from `--mirror`.
//!
//! An index is a store path, so that it can be copied into a machine and is found unchanged there. What keeps it is the
//! link `nix/var/firn/channels/NAME/index`; the link `nix/var/firn/channel` is the one in use.

mod apt_sources;
mod control;
mod cycles;
mod download;
mod index;
mod relation;
mod release;
mod resolve;
mod version;

use crate::json;
use crate::settings::Settings;
use anyhow::{Context as _, Result, bail, ensure};
use apt_sources::Source;
use clap::{Arg, ArgAction, ArgMatches, Command};
use formats::content_address::Method;
use formats::hash::Algorithm;
use index::Fetched;
use release::Release;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::Store;

/// The file beside an index that says how it was made, for `update`.
const RECIPE: &str = "recipe.json";

/// The file beside an index with a line for each package, for `firn search`.
const SUMMARIES: &str = "summaries.tsv";

/// The link beside it that keeps the index in the store.
const INDEX: &str = "index";

/// How a channel is made.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Recipe {
    sources: Vec<Source>,
    architecture: String,
    verify: bool,
}

/// The arguments.
pub(crate) fn command() -> Command {
    let name = || Arg::new("name").value_name("NAME").default_value("debian");
    Command::new("channel")
        .about("Choose where packages come from")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("add")
                .about("Index a Debian suite and use it")
                .arg(name().help("The channel's name; `debian` is the only kind there is"))
                .arg(Arg::new("suite").long("suite").value_name("SUITE").action(ArgAction::Append).help(
                    "Index SUITE, and SUITE-updates and SUITE-security where apt's configuration has them [default: as apt]",
                ))
                .arg(Arg::new("mirror").long("mirror").value_name("URL").help("Take packages from this archive and not from apt's"))
                .arg(
                    Arg::new("component")
                        .long("component")
                        .value_name("NAME")
                        .action(ArgAction::Append)
                        .help("Which parts of the archive [default: as apt; main with --mirror]"),
                )
                .arg(Arg::new("keyring").long("keyring").value_name("FILE").help("The key ring that signs the archive"))
                .arg(Arg::new("no-verify").long("no-verify").action(ArgAction::SetTrue).help("Do not check the archive's signature")),
        )
        .subcommand(Command::new("update").about("Make the index anew from the archive as it is now").arg(name()))
        .subcommand(Command::new("list").about("List the channels").arg(json::argument()))
        .subcommand(Command::new("remove").about("Forget a channel").arg(name()))
}

/// Runs `firn channel …`.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let channels = Channels::of(Settings::current()?);
    match matches.subcommand() {
        Some(("add", matches)) => channels.add(matches)?,
        Some(("update", matches)) => channels.update(&name(matches))?,
        Some(("remove", matches)) => channels.remove(&name(matches))?,
        Some((_, matches)) => channels.list(matches.get_flag("json"))?,
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn name(matches: &ArgMatches) -> String {
    matches.get_one::<String>("name").cloned().unwrap_or_else(|| "debian".to_owned())
}

/// The channels of one store.
struct Channels {
    /// The store's root.
    root: PathBuf,
    /// `nix/var/firn` below the store's root.
    state: PathBuf,
}

impl Channels {
    fn of(settings: &Settings) -> Self {
        Self { root: settings.store_root.clone(), state: settings.store_root.join("nix/var/firn") }
    }

    fn add(&self, matches: &ArgMatches) -> Result<()> {
        let name = name(matches);
        ensure!(
            name == "debian",
            "there is no kind of channel `{name}`; `firn channel add debian` adds Debian's packages"
        );
        let many =
            |id: &str| matches.get_many::<String>(id).map(|values| values.cloned().collect::<Vec<_>>());
        let keyring = matches.get_one::<String>("keyring").map(PathBuf::from);
        if let Some(keyring) = &keyring {
            release::check_key_ring(keyring)?;
        }
        let mut sources = match matches.get_one::<String>("mirror") {
            Some(mirror) => sources_of_mirror(mirror, many("suite").unwrap_or(vec![own_codename()?])),
            None => sources_of_apt(&apt_sources::read(Path::new("/"))?, many("suite"))?,
        };
        for source in &mut sources {
            if let Some(components) = many("component") {
                source.components = components;
            }
            if keyring.is_some() {
                source.signed_by.clone_from(&keyring);
            }
        }
        let recipe = Recipe {
            sources,
            architecture: architecture()?.to_owned(),
            verify: !matches.get_flag("no-verify"),
        };
        self.build(&name, &recipe)
    }

    fn update(&self, name: &str) -> Result<()> {
        let path = self.state.join("channels").join(name).join(RECIPE);
        let text = std::fs::read(&path)
            .with_context(|| format!("there is no channel `{name}`; `firn channel add {name}` makes it"))?;
        let recipe =
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
        self.build(name, &recipe)
    }

    /// Fetches, writes the index beside the old one, and makes it the current one.
    fn build(&self, name: &str, recipe: &Recipe) -> Result<()> {
        let mut fetched = Vec::new();
        for source in &recipe.sources {
            say(&format!("{} {} ({})", source.base, source.suite, source.components.join(" ")))?;
            let release = Release::fetch(source, recipe.verify)?;
            if !recipe.verify {
                log::warn!("{}: the signature was not checked, as you asked", source.suite);
            }
            let mut lists = Vec::new();
            for component in &source.components {
                lists.push(release.packages(source, component, &recipe.architecture)?);
            }
            let date = release.field("Date").unwrap_or_default().to_owned();
            fetched.push(Fetched { source: source.clone(), date, verified: release.verified, lists });
        }
        let directory = self.state.join("channels").join(name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let new = tempfile::Builder::new()
            .prefix(".new-index-")
            .tempdir_in(&directory)
            .with_context(|| format!("cannot write below {}", directory.display()))?;
        let summary = index::write(new.path(), &recipe.architecture, &fetched)?;
        write_file(&directory.join(SUMMARIES), summary.summaries.as_bytes())?;
        write_file(
            &directory.join(RECIPE),
            &serde_json::to_vec_pretty(recipe).context("cannot write the recipe")?,
        )?;
        let store = Store::open(&self.root)?;
        let path =
            store.add_path(new.path(), &format!("{name}-channel"), Method::Recursive, Algorithm::Sha256)?;
        store.add_permanent_root(&path, &directory.join(INDEX))?;
        point(&self.state.join("channel"), Path::new(&store.dir().print(&path)))?;
        say(&format!(
            "channel {name}: {} packages; {} need something that is not in it; {} groups of packages share a store path",
            summary.packages, summary.incomplete, summary.groups
        ))
    }

    fn list(&self, as_json: bool) -> Result<()> {
        let channels = self.state.join("channels");
        let current = std::fs::read_link(self.state.join("channel")).ok();
        let mut names: Vec<_> = match std::fs::read_dir(&channels) {
            Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot list {}", channels.display())),
        };
        names.sort();
        let mut out = std::io::stdout().lock();
        let mut values = Vec::new();
        for directory in names {
            let name = directory.file_name().unwrap_or_default().to_string_lossy();
            let in_use = current.is_some() && current == std::fs::read_link(directory.join(INDEX)).ok();
            let text = std::fs::read(directory.join(RECIPE))
                .with_context(|| format!("the channel `{name}` is damaged"))?;
            let recipe: Recipe =
                serde_json::from_slice(&text).with_context(|| format!("the channel `{name}` is damaged"))?;
            if as_json {
                values.push(serde_json::json!({ "name": name, "inUse": in_use, "sources": recipe.sources }));
                continue;
            }
            writeln!(out, "{name}{}", if in_use { " (in use)" } else { "" })?;
            for source in &recipe.sources {
                writeln!(out, "  {} {} {}", source.base, source.suite, source.components.join(" "))?;
            }
        }
        drop(out);
        if as_json {
            json::print(&values)?;
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let directory = self.state.join("channels").join(name);
        ensure!(
            directory.join(RECIPE).exists(),
            "there is no channel `{name}`; `firn channel list` lists them"
        );
        let link = self.state.join("channel");
        if std::fs::read_link(&link)
            .is_ok_and(|target| std::fs::read_link(directory.join(INDEX)).is_ok_and(|own| own == target))
        {
            std::fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
        }
        std::fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))
    }
}

/// The suites wanted of one archive.
fn sources_of_mirror(mirror: &str, suites: Vec<String>) -> Vec<Source> {
    let base = mirror.trim_end_matches('/');
    suites
        .into_iter()
        .map(|suite| Source {
            base: base.to_owned(),
            suite,
            components: vec!["main".to_owned()],
            signed_by: None,
        })
        .collect()
}

/// Those of apt's sources that are Debian's own suites; or the suites wanted, from the archives that have those.
fn sources_of_apt(configured: &[Source], suites: Option<Vec<String>>) -> Result<Vec<Source>> {
    let codename = own_codename()?;
    let of_release = |source: &&Source, release: &str| {
        source
            .suite
            .strip_prefix(release)
            .is_some_and(|rest| rest.is_empty() || rest == "-updates" || rest == "-security")
    };
    let own: Vec<Source> =
        configured.iter().filter(|source| of_release(source, &codename)).cloned().collect();
    if own.is_empty() {
        bail!("apt's configuration has no archive for {codename}; name one with --mirror URL --suite SUITE");
    }
    let Some(suites) = suites else { return Ok(own) };
    let mut wanted = Vec::new();
    for suite in suites {
        // The same archives, with the other release's name in place of this machine's.
        wanted.extend(own.iter().map(|source| {
            let rest = source.suite.strip_prefix(&codename).unwrap_or_default();
            Source { suite: format!("{suite}{rest}"), ..source.clone() }
        }));
    }
    Ok(wanted)
}

/// The release that this machine runs (os-release(5)).
fn own_codename() -> Result<String> {
    let text = std::fs::read_to_string("/etc/os-release")
        .context("cannot tell which Debian this is; say --suite SUITE")?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .context("/etc/os-release has no VERSION_CODENAME; say --suite SUITE and --mirror URL")
}

/// Debian's name for this machine's kind.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        other => bail!("Firn has no packages for {other} yet; it runs on x86_64"),
    }
}

/// Writes a file.
fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a link lead elsewhere in one step.
fn point(link: &Path, target: &Path) -> Result<()> {
    let new = link.with_extension("new");
    match std::fs::remove_file(&new) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot remove {}", new.display())),
    }
    std::os::unix::fs::symlink(target, &new)
        .with_context(|| format!("cannot make the link {}", new.display()))?;
    std::fs::rename(&new, link).with_context(|| format!("cannot make the link {}", link.display()))
}

/// A line of talk.
fn say(line: &str) -> Result<()> {
    writeln!(std::io::stderr(), "{line}").context("cannot write to standard error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_needs_no_apt() {
        let sources = sources_of_mirror("file:///m/", vec!["trixie".into(), "trixie-updates".into()]);
        let shown: Vec<String> =
            sources.iter().map(|source| format!("{} {}", source.base, source.suite)).collect();
        assert_eq!(shown, ["file:///m trixie", "file:///m trixie-updates"]);
    }
}
