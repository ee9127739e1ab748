//! `nix flake init` and `nix flake new`: a directory of files that a flake offers as a template is copied. Files that are
//! there already stay as they are. nix3-flake-init(1).

use super::Call;
use super::show::text;
use crate::eval::explain;
use crate::eval_io::StoreIo;
use crate::flakes::outputs::{Called, Purpose};
use crate::flakes::words::Word;
use crate::nix_front::{Arguments, Front};
use crate::progress::say;
use anyhow::{Context as _, Result, bail};
use evaluator::{Arena, EvalIo, Evaluator};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::rc::Rc;

/// `nix flake init`.
pub(crate) fn init(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (mut call, template) = read(front, arguments)?;
    if let Some(word) = call.words.first() {
        bail!("unexpected argument '{word}'");
    }
    let here = crate::eval::current_directory()?;
    copy_template(front, &mut call, &template, &here)
}

/// `nix flake new DIRECTORY`.
pub(crate) fn new(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (mut call, template) = read(front, arguments)?;
    let [directory] = call.words.as_slice() else { bail!("'nix flake new' needs a directory") };
    let directory = std::path::absolute(directory)?;
    copy_template(front, &mut call, &template, &directory)
}

fn read(front: &mut Front, arguments: &mut Arguments) -> Result<(Call, String)> {
    let mut template = "templates".to_owned();
    let call = Call::read_with(front, arguments, &[], &mut |flag, arguments| {
        let is_template = matches!(flag, "-t" | "--template");
        if is_template {
            template = arguments.value(flag)?;
        }
        Ok(is_template)
    })?;
    Ok((call, template))
}

fn copy_template(front: &Front, call: &mut Call, template: &str, target: &Path) -> Result<ExitCode> {
    let store = Rc::new(front.open()?);
    let io = Rc::new(StoreIo::new(Rc::clone(&store), front.build_options(&store)));
    let options = call.options(front)?;
    let system = options.system.clone();
    let arena = Arena::new();
    let mut evaluator = Evaluator::new(&arena, Rc::clone(&io) as Rc<dyn EvalIo>, options);
    call.locking.write = false;
    let word = Word::parse(template, false)?;
    let mut called = Called::default();
    let found = called.output(&mut evaluator, &mut call.locking, &word, Purpose::Templates, &system)?.value;
    let Some(path) = evaluator.attribute(found, "path").map_err(explain)? else {
        bail!("the template has no attribute 'path'");
    };
    let to_string = evaluator.eval_str("toString", b"/").map_err(explain)?;
    let source = evaluator.call(to_string, path).map_err(explain)?;
    let source = String::from_utf8_lossy(evaluator.as_string(source).unwrap_or_default()).into_owned();
    let welcome = text(&mut evaluator, found, "welcomeText")?;
    let real = store.layout().real_of_logical(Path::new(&source));
    let mut copy = Copy::default();
    copy.directory(&real, target, Path::new(&source))?;
    if !copy.written.is_empty() && target.join(".git").exists() {
        let mut git = Command::new("git");
        git.arg("-C").arg(target).args(["add", "--intent-to-add", "--force", "--"]).args(&copy.written);
        let status = git.status().context("starting git")?;
        if !status.success() {
            bail!("git could not add the files of the template: {status}");
        }
    }
    if let Some(welcome) = welcome {
        say(&format!("\n{welcome}"));
    }
    if copy.conflicts > 0 {
        bail!("encountered {} conflicts - see above", copy.conflicts);
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Copy {
    written: Vec<PathBuf>,
    conflicts: usize,
}

impl Copy {
    /// Copies what is in a directory; `shown` is its name in messages.
    fn directory(&mut self, from: &Path, to: &Path, shown: &Path) -> Result<()> {
        std::fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
        let entries = std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<std::io::Result<Vec<_>>>()
            .with_context(|| format!("reading {}", from.display()))?;
        names.sort();
        for name in names {
            self.entry(&from.join(&name), &to.join(&name), &shown.join(&name))?;
        }
        Ok(())
    }

    fn entry(&mut self, from: &Path, to: &Path, shown: &Path) -> Result<()> {
        let found = from.symlink_metadata().with_context(|| format!("examining {}", from.display()))?;
        if found.is_dir() {
            return self.directory(from, to, shown);
        }
        let context = || format!("writing {}", to.display());
        let is_there = to.symlink_metadata().is_ok();
        let is_same = if found.is_symlink() {
            is_there && std::fs::read_link(from).ok() == std::fs::read_link(to).ok()
        } else {
            is_there && std::fs::read(from).ok() == std::fs::read(to).ok()
        };
        if is_same {
            say(&format!("skipping identical file: {}", shown.display()));
            return Ok(());
        }
        if is_there {
            say(&format!(
                "refusing to overwrite existing file '{}'\n please merge it manually with '{}'",
                to.display(),
                shown.display()
            ));
            self.conflicts += 1;
            return Ok(());
        }
        if found.is_symlink() {
            let target = std::fs::read_link(from).with_context(context)?;
            std::os::unix::fs::symlink(target, to).with_context(context)?;
        } else {
            // A new file, as its owner may change it.
            let contents = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
            std::fs::write(to, contents).with_context(context)?;
        }
        say(&format!("wrote: \"{}\"", to.display()));
        self.written.push(to.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::create_dir(&to).unwrap();
        for (file, text) in
            [("from/a", "1"), ("from/b", "2"), ("from/sub/c", "3"), ("to/a", "1"), ("to/b", "x")]
        {
            std::fs::write(place.path().join(file), text).unwrap();
        }
        std::os::unix::fs::symlink("a", from.join("link")).unwrap();
        let mut copy = Copy::default();
        copy.directory(&from, &to, &from).unwrap();
        assert_eq!(copy.written, [to.join("link"), to.join("sub/c")]);
        assert_eq!(copy.conflicts, 1);
        assert_eq!(std::fs::read_to_string(to.join("b")).unwrap(), "x");
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("a"));
    }
}
