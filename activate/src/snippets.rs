//! Pieces of shell that the configuration adds (`system.activationScripts`), run in the order of their dependencies. Each
//! runs in a shell of its own, so that one that fails is known by name and keeps none of the others from running.

use crate::error::{Error, Result};
use crate::root::Root;
use formats::activation::{Activation, Snippet};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

/// NixOS's names for what Firn does itself before any snippet runs.
const OWN_STEPS: [&str; 16] = [
    "specialfs",
    "users",
    "groups",
    "etc",
    "var",
    "binsh",
    "usrbinenv",
    "modprobe",
    "udevd",
    "hashes",
    "stdio",
    "nix",
    "domain",
    "hostname",
    "wrappers",
    "setupSecrets",
];

/// The snippets in an order in which each comes after those it names; otherwise as they were given.
///
/// # Errors
/// When a dependency does not exist or they form a circle.
pub fn order(snippets: &[Snippet]) -> Result<Vec<&Snippet>> {
    let mut ordered: Vec<&Snippet> = Vec::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for snippet in snippets {
        visit(snippet, snippets, &mut Vec::new(), &mut done, &mut ordered)?;
    }
    Ok(ordered)
}

fn visit<'a>(
    snippet: &'a Snippet,
    all: &'a [Snippet],
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
    ordered: &mut Vec<&'a Snippet>,
) -> Result<()> {
    if done.contains(snippet.name.as_str()) {
        return Ok(());
    }
    let impossible = |problem: String| Error::Configuration {
        option: format!("system.activationScripts.{}.deps", snippet.name),
        problem,
    };
    if path.contains(&snippet.name.as_str()) {
        path.push(&snippet.name);
        return Err(impossible(format!("the snippets wait for each other: {}", path.join(" → "))));
    }
    path.push(&snippet.name);
    for name in &snippet.deps {
        match all.iter().find(|other| other.name == *name) {
            Some(other) => visit(other, all, path, done, ordered)?,
            None if OWN_STEPS.contains(&name.as_str()) => {}
            None => return Err(impossible(format!("there is no snippet `{name}`"))),
        }
    }
    path.pop();
    done.insert(&snippet.name);
    ordered.push(snippet);
    Ok(())
}

/// Runs all snippets; the problems are returned, one for each that failed.
pub fn run(root: &Root, activation: &Activation, toplevel: &Path, action: &str) -> Vec<Error> {
    let ordered = match order(&activation.snippets) {
        Ok(ordered) => ordered,
        Err(error) => return vec![error],
    };
    ordered
        .into_iter()
        .filter_map(|snippet| run_one(root, activation, snippet, toplevel, action).err())
        .collect()
}

fn run_one(
    root: &Root,
    activation: &Activation,
    snippet: &Snippet,
    toplevel: &Path,
    action: &str,
) -> Result<()> {
    if snippet.text.trim().is_empty() {
        return Ok(());
    }
    let failed = |problem: String| Error::Snippet { name: snippet.name.clone(), problem };
    let Some(shell) = &activation.snippet_shell else {
        return Err(failed("the generation has no `snippetShell` to run it".to_owned()));
    };
    let path: Vec<String> = activation
        .snippet_path
        .iter()
        .flat_map(|package| [format!("{package}/bin"), format!("{package}/sbin")])
        .collect();
    let mut command = if root.is_running_system() {
        Command::new(shell)
    } else {
        let mut command = Command::new("chroot");
        command.arg(root.directory()).arg(shell);
        command
    };
    command
        .arg("-c")
        .arg(&snippet.text)
        .env_clear()
        .env("PATH", path.join(":"))
        .env("HOME", "/root")
        .env("LOCALE_ARCHIVE", "/run/current-system/sw/lib/locale/locale-archive")
        .env("systemConfig", toplevel)
        .env("NIXOS_ACTION", action)
        .stdin(Stdio::null());
    if !root.is_running_system() {
        // chroot itself must be found.
        command.env(
            "PATH",
            format!("{}:/run/current-system/sw/bin:/usr/sbin:/usr/bin:/sbin:/bin", path.join(":")),
        );
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(status.to_string())),
        Err(error) => Err(failed(format!("{shell}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snippets(list: &[(&str, &[&str])]) -> Vec<Snippet> {
        list.iter()
            .map(|(name, deps)| Snippet {
                name: (*name).to_owned(),
                deps: deps.iter().map(|dep| (*dep).to_owned()).collect(),
                text: String::new(),
            })
            .collect()
    }

    #[test]
    fn each_comes_after_what_it_names() {
        let list = snippets(&[("c", &["b", "users"]), ("a", &[]), ("b", &["a"]), ("d", &["etc"])]);
        let names: Vec<&str> = order(&list).unwrap().iter().map(|snippet| snippet.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        let circle = order(&snippets(&[("a", &["b"]), ("b", &["a"])])).unwrap_err().to_string();
        assert!(circle.contains("a → b → a"), "{circle}");
        let missing = order(&snippets(&[("a", &["zz"])])).unwrap_err().to_string();
        assert!(missing.contains("no snippet `zz`"), "{missing}");
    }

    #[test]
    fn one_that_fails_is_named_and_stops_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let marker = directory.path().join("ran");
        let mut activation = Activation::empty();
        activation.snippet_shell = Some("/bin/sh".to_owned());
        activation.snippets = snippets(&[("bad", &[]), ("good", &["bad"])]);
        activation.snippets[0].text = "exit 3".to_owned();
        activation.snippets[1].text = format!(
            "[ \"$systemConfig\" = /nix/store/x ] && [ \"$NIXOS_ACTION\" = switch ] && echo > {}",
            marker.display()
        );
        let root = Root::new("/");
        let problems = run(&root, &activation, Path::new("/nix/store/x"), "switch");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().contains("`bad`"), "{}", problems[0]);
        assert!(marker.exists());
    }
}
