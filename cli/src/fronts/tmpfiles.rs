//! `systemd-tmpfiles`: the rules of the running generation and of tmpfiles.d(5) files, carried out by `activate::tmpfiles`.

use super::options::{Line, Option_, flag, with_value};
use crate::family::Failure;
use activate::accounts::Names;
use activate::root::Root;
use activate::tmpfiles::{Occasion, apply};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const OPTIONS: &[Option_] = &[
    flag("create", ' '),
    flag("clean", ' '),
    flag("remove", ' '),
    flag("boot", ' '),
    flag("graceful", ' '),
    flag("no-pager", ' '),
    flag("cat-config", ' '),
    flag("dry-run", ' '),
    with_value("prefix", ' '),
    with_value("exclude-prefix", 'E'),
    with_value("root", ' '),
];

/// Where files of rules lie; a file hides those of its name further down.
const DIRECTORIES: [&str; 3] = ["/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/lib/tmpfiles.d"];

/// Lines that are wrong, and things that could not be made: systemd-tmpfiles(8), "Exit status".
const WRONG_LINES: u8 = 65;
const NOT_MADE: u8 = 73;

/// Runs it.
pub(super) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let line = Line::read("systemd-tmpfiles", OPTIONS, arguments, false)?;
    let root = Root::new(line.value("root").unwrap_or("/"));
    let mut rules = match line.words.as_slice() {
        [] => all_rules(&root)?,
        words => words.iter().map(|word| rules_of(&root, word)).collect::<Result<Vec<_>>>()?.concat(),
    };
    let path_of =
        |rule: &String| rule.split_whitespace().nth(1).unwrap_or_default().trim_matches('"').to_owned();
    let below = |path: &str, prefix: &str| Path::new(path).starts_with(prefix);
    let prefixes: Vec<&str> = line.values("prefix").collect();
    rules.retain(|rule| {
        let path = path_of(rule);
        (prefixes.is_empty() || prefixes.iter().any(|prefix| below(&path, prefix)))
            && !line.values("exclude-prefix").any(|prefix| below(&path, prefix))
    });
    if line.has("cat-config") {
        use std::io::Write as _;
        writeln!(std::io::stdout(), "{}", rules.join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let boot = line.has("boot");
    let occasions: Vec<Occasion> = [
        ("remove", Occasion::Remove { boot }),
        ("create", Occasion::Create { boot }),
        ("clean", Occasion::Clean),
    ]
    .into_iter()
    .filter(|(name, _)| line.has(name))
    .map(|(_, occasion)| occasion)
    .collect();
    if occasions.is_empty() || line.has("dry-run") {
        let message = "systemd-tmpfiles: one or more of --create, --remove and --clean is needed".to_owned();
        return Err(Failure { code: 1, message }.into());
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let names = Names::of(&activate::accounts::observe(&root)?);
    let mut problems = Vec::new();
    for occasion in occasions {
        problems.extend(apply(&root, &rules, &names, host.trim(), occasion).problems);
    }
    if problems.is_empty() || line.has("graceful") {
        return Ok(ExitCode::SUCCESS);
    }
    problems.dedup_by_key(|problem| problem.to_string());
    let is_syntax = |problem: &activate::error::Error| problem.to_string().contains("no type of");
    let code = if problems.iter().all(is_syntax) { WRONG_LINES } else { NOT_MADE };
    let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Err(Failure { code, message }.into())
}

/// The running generation's rules and those of the directories.
fn all_rules(root: &Root) -> Result<Vec<String>> {
    let manifest = root.join("/run/current-system/activation.json");
    let mut rules = match std::fs::read(&manifest) {
        Ok(bytes) => {
            let activation = formats::activation::Activation::parse(&bytes)
                .with_context(|| format!("{} is no activation manifest", manifest.display()))?;
            activation.tmpfiles
        }
        Err(_) => Vec::new(),
    };
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for directory in DIRECTORIES {
        for entry in std::fs::read_dir(root.join(directory)).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|ending| ending == "conf") {
                files.entry(entry.file_name()).or_insert_with(|| entry.path());
            }
        }
    }
    for path in files.values() {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        rules.extend(text.lines().map(str::to_owned));
    }
    Ok(rules)
}

/// A file's rules; a bare name is looked for in the directories, `-` is standard input.
fn rules_of(root: &Root, word: &str) -> Result<Vec<String>> {
    let mut text = String::new();
    if word == "-" {
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        let mut candidates = DIRECTORIES.iter().map(|directory| root.join(directory).join(word));
        let found = candidates.find(|path| !word.contains('/') && path.exists());
        let path = found.unwrap_or_else(|| PathBuf::from(word));
        text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(text.lines().map(str::to_owned).collect())
}
