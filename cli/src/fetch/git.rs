//! Trees of git repositories, by the `git` program: from the working tree of a repository of this machine (what git
//! tracks, even if it is not committed), or a revision of any repository, kept where Nix keeps its own copies
//! (`~/.cache/nix/gitv3`). Nix manual,
//! "fetchGit".

use super::{Fetcher, store_error, system};
use evaluator::io::{IoError, TreeAttribute, TreeInput};
use formats::content_address::Method;
use formats::flake::url::Url;
use formats::hash::{Algorithm, Hash};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

type Attributes = BTreeMap<String, TreeAttribute>;

/// What a repository is asked for.
struct Wanted<'i> {
    /// The address as git takes it.
    url: String,
    /// The working tree, if the repository is one of this machine that has one.
    local: Option<PathBuf>,
    reference: Option<&'i str>,
    revision: Option<String>,
    /// The branch that was found where none was asked for.
    head: Option<String>,
    shallow: bool,
    submodules: bool,
    all_references: bool,
}

pub(super) fn fetch(
    fetcher: &Fetcher<'_>,
    input: &TreeInput,
    name: &str,
    attributes: &mut Attributes,
) -> Result<StorePath, IoError> {
    const KNOWN: [&str; 15] = [
        "url",
        "ref",
        "rev",
        "name",
        "narHash",
        "shallow",
        "submodules",
        "allRefs",
        "lastModified",
        "revCount",
        "exportIgnore",
        "verifyCommit",
        "lfs",
        "dirtyRev",
        "dirtyShortRev",
    ];
    if let Some(unknown) = input.attributes.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(IoError::Unsupported(format!("unsupported Git input attribute '{unknown}'")));
    }
    if attributes.get("rev") == Some(&TreeAttribute::from("")) {
        attributes.remove("rev");
    }
    let mut wanted = wanted(input)?;
    if let (Some(tree), None, None) = (&wanted.local, wanted.reference, &wanted.revision) {
        let committed = has_commit(tree)?;
        if !committed || is_dirty(tree, wanted.submodules)? {
            return working_tree(fetcher, tree, (committed, wanted.submodules), name, attributes);
        }
    }
    let repository = match wanted.local.clone() {
        Some(tree) => {
            if wanted.reference.is_none() {
                wanted.head = head_of(&tree);
            }
            if wanted.revision.is_none() {
                let head = wanted.reference.unwrap_or("HEAD");
                wanted.revision = Some(line(git(&tree).args(["rev-parse", "--verify", "--quiet", head]))?);
            }
            tree
        }
        None => mirror(fetcher, &mut wanted)?,
    };
    if let Some(head) = wanted.head.take() {
        attributes.insert("ref".to_owned(), TreeAttribute::Text(head));
    }
    revision(fetcher, &repository, &wanted, name, attributes)
}

/// The branch that a repository is at; of one that is at none, `HEAD`.
fn head_of(repository: &Path) -> Option<String> {
    let found = run(git(repository).args(["symbolic-ref", "--quiet", "HEAD"])).ok()?;
    let name = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    Some(if found.status.success() && !name.is_empty() { name } else { "HEAD".to_owned() })
}

/// Whether this tree was not met before: it is fetched once for its inputs and once for its outputs.
fn is_first(tree: &Path) -> bool {
    static MET: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    MET.lock().unwrap_or_else(PoisonError::into_inner).insert(tree.to_owned())
}

/// Whether git does not know of a file that lies in its working tree.
pub(super) fn is_untracked(tree: &Path, file: &str) -> bool {
    run(git(tree).args(["ls-files", "--error-unmatch", "--", file]))
        .is_ok_and(|found| !found.status.success())
}

/// What to do about a file that git does not know of.
pub(super) fn untracked(tree: &str, file: &str) -> String {
    format!(
        "Path '{file}' in the repository \"{tree}\" is not tracked by Git.\n\nTo make it visible to Nix, run:\n\n\
         git -C \"{tree}\" add \"{file}\""
    )
}

fn wanted(input: &TreeInput) -> Result<Wanted<'_>, IoError> {
    let url = super::address(input)?;
    let url = url.strip_prefix("git+").unwrap_or(&url).to_owned();
    let url = if url.contains("://") || url.starts_with("file:") {
        url
    } else if url.starts_with('/') || url.starts_with('.') {
        let path = std::path::absolute(&url).map_err(system("finding", Path::new(&url)))?;
        format!("file://{}", path.display())
    } else if let Some((host, path)) = url.split_once(':').filter(|(host, _)| !host.contains('/')) {
        format!("ssh://{host}/{path}")
    } else {
        return Err(IoError::Unsupported(format!("'{url}' is not the address of a git repository")));
    };
    let parsed = Url::parse(&url).ok().filter(|url| url.scheme == "file");
    let path = parsed.map(|url| PathBuf::from(url.path_text()));
    // What follows the path of a directory means nothing to git.
    let url = path.as_ref().map_or(url, |path| format!("file://{}", path.display()));
    let forced = std::env::var_os("_NIX_FORCE_HTTP").is_some();
    let local = path.filter(|path| !forced && path.join(".git").exists());
    let reference = input.text("ref");
    if let Some(reference) = reference.filter(|reference| !is_reference(reference)) {
        return Err(IoError::Unsupported(format!("invalid Git branch/tag name '{reference}'")));
    }
    let revision = input.text("rev").filter(|revision| !revision.is_empty()).map(str::to_owned);
    if let Some(revision) = &revision
        && !(revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(IoError::Unsupported(format!(
            "'{revision}' is not a Git revision: it has 40 hexadecimal digits"
        )));
    }
    Ok(Wanted {
        url,
        local,
        reference,
        revision,
        head: None,
        shallow: input.truth("shallow"),
        submodules: input.truth("submodules"),
        all_references: input.truth("allRefs"),
    })
}

/// Whether git would take it as the name of a branch or tag: git-check-ref-format(1).
fn is_reference(name: &str) -> bool {
    let bad = |byte: u8| byte <= 0x20 || byte == 0x7f || b"~^:?*[\\".contains(&byte);
    !name.is_empty()
        && name != "@"
        && !name.bytes().any(bad)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(|part| {
            !part.is_empty() && !part.starts_with('.') && Path::new(part).extension() != Some("lock".as_ref())
        })
}

/// A call of git in a repository; nothing of the environment says that it is another one.
fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).env("LC_ALL", "C").env_remove("GIT_DIR").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<Output, IoError> {
    command
        .output()
        .map_err(|error| IoError::Store(format!("cannot run git, which fetches repositories: {error}")))
}

/// What a call prints that must succeed.
fn output(command: &mut Command) -> Result<Vec<u8>, IoError> {
    let output = run(command)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(IoError::Store(format!("'git {}' failed: {said}", words.join(" "))))
}

fn line(command: &mut Command) -> Result<String, IoError> {
    Ok(String::from_utf8_lossy(&output(command)?).trim().to_owned())
}

fn has_commit(tree: &Path) -> Result<bool, IoError> {
    let found = run(git(tree).args(["rev-parse", "--verify", "--no-revs", "HEAD^{commit}"]))?;
    if found.status.success() {
        return Ok(true);
    }
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    if said.contains("Needed a single revision") {
        return Ok(false);
    }
    Err(IoError::Store(format!("cannot get the HEAD of the Git tree '{}': {}", tree.display(), said.trim())))
}

fn is_dirty(tree: &Path, submodules: bool) -> Result<bool, IoError> {
    let ignored: &[&str] = if submodules { &[] } else { &["--ignore-submodules"] };
    let found = run(git(tree).args(["diff", "HEAD", "--quiet"]).args(ignored))?;
    match found.status.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(IoError::Store(format!(
            "cannot tell whether the Git tree '{}' is dirty: {}",
            tree.display(),
            String::from_utf8_lossy(&found.stderr).trim()
        ))),
    }
}

/// What git tracks of a tree that is not (all) committed, as it lies there.
fn working_tree(
    fetcher: &Fetcher<'_>,
    tree: &Path,
    (committed, submodules): (bool, bool),
    name: &str,
    attributes: &mut Attributes,
) -> Result<StorePath, IoError> {
    let conf = crate::nix_conf::NixConf::load();
    if !conf.flag("allow-dirty", true) {
        return Err(IoError::Store(format!("Git tree '{}' is dirty", tree.display())));
    }
    if conf.flag("warn-dirty", true) && is_first(tree) {
        log::warn!("Git tree '{}' is dirty", tree.display());
    }
    let recurse: &[&str] = if submodules { &["--recurse-submodules"] } else { &[] };
    let listed = output(git(tree).args(["ls-files", "-z"]).args(recurse))?;
    let work = tempfile::tempdir().map_err(system("making a directory in", &std::env::temp_dir()))?;
    let copy = work.path().join("tree");
    std::fs::create_dir(&copy).map_err(system("creating", &copy))?;
    for file in listed.split(|&byte| byte == 0).filter(|file| !file.is_empty()) {
        let file: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(file);
        let (from, to) = (tree.join(file), copy.join(file));
        let Ok(found) = std::fs::symlink_metadata(&from) else { continue };
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(system("creating", parent))?;
        }
        if found.is_symlink() {
            let target = std::fs::read_link(&from).map_err(system("reading link", &from))?;
            std::os::unix::fs::symlink(target, &to).map_err(system("linking", &to))?;
        } else if found.is_file() {
            std::fs::copy(&from, &to).map_err(system("copying", &from))?;
            let mode = if found.mode() & 0o100 != 0 { 0o755 } else { 0o644 };
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(mode))
                .map_err(system("changing the mode of", &to))?;
        }
    }
    let time = if committed {
        line(git(tree).args(["log", "-1", "--format=%ct", "--no-show-signature", "HEAD"]))?
    } else {
        String::new()
    };
    attributes.insert("lastModified".to_owned(), TreeAttribute::Int(time.parse().unwrap_or(0)));
    if committed {
        let revision = line(git(tree).args(["rev-parse", "HEAD"]))?;
        let short = revision.get(..7).unwrap_or(&revision);
        attributes.insert("dirtyShortRev".to_owned(), TreeAttribute::Text(format!("{short}-dirty")));
        attributes.insert("dirtyRev".to_owned(), TreeAttribute::Text(format!("{revision}-dirty")));
    }
    let added = fetcher.store.add_path(&copy, name, Method::Recursive, Algorithm::Sha256);
    added.map_err(|error| store_error(&error))
}

/// A bare copy of a repository that is not ours, up to date enough for what is wanted; fills in the revision.
fn mirror(fetcher: &Fetcher<'_>, wanted: &mut Wanted<'_>) -> Result<PathBuf, IoError> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|cache| !cache.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .ok_or_else(|| {
            IoError::Store("HOME is not set: there is no place for copies of repositories".to_owned())
        })?;
    let cache = cache.join("nix/gitv3");
    let repository = cache.join(Hash::sha256(&wanted.url).digits32());
    std::fs::create_dir_all(&cache).map_err(system("creating", &cache))?;
    let mut lock = repository.clone().into_os_string();
    lock.push(".lock");
    let lock = std::fs::File::create(&lock).map_err(system("creating", Path::new(&lock)))?;
    // Held until this function returns.
    let _lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive)
        .map_err(|(_, error)| system("locking", &repository)(error.into()))?;
    if !repository.exists() {
        output(
            git(&cache).args(["-c", "init.defaultBranch=firn", "init", "--quiet", "--bare"]).arg(&repository),
        )?;
    }
    if wanted.reference.is_none() {
        wanted.head = remote_head(fetcher, &repository, &wanted.url);
    }
    let reference = wanted.reference.unwrap_or("HEAD");
    let (from, to) = match reference {
        "HEAD" => ("HEAD".to_owned(), "refs/firn/HEAD".to_owned()),
        full if full.starts_with("refs/") => (full.to_owned(), full.to_owned()),
        short => (format!("refs/heads/{short}"), format!("refs/heads/{short}")),
    };
    let stamp =
        cache.join(format!("{}.{}", Hash::sha256(&wanted.url).digits32(), Hash::sha256(&to).digits32()));
    let needed = match &wanted.revision {
        Some(revision) => !run(git(&repository).args(["cat-file", "-e", revision]))?.status.success(),
        None => !is_fresh(&stamp, fetcher.time_to_live),
    };
    if needed {
        let spec = if wanted.all_references { "+refs/*:refs/*".to_owned() } else { format!("+{from}:{to}") };
        let fetched =
            output(git(&repository).args(["fetch", "--quiet", "--force", "--", &wanted.url, &spec]));
        match fetched {
            Ok(_) => std::fs::write(&stamp, b"").map_err(system("writing", &stamp))?,
            Err(error) if wanted.revision.is_some() || !stamp.exists() => return Err(error),
            Err(error) => log::warn!(
                "could not update the local copy of Git repository '{}'; going on with what there is: {error}",
                wanted.url
            ),
        }
    }
    if wanted.revision.is_none() {
        wanted.revision = Some(line(git(&repository).args(["rev-parse", "--verify", "--quiet", &to]))?);
    }
    Ok(repository)
}

/// The branch that a repository elsewhere is at; asked for again after a while.
fn remote_head(fetcher: &Fetcher<'_>, repository: &Path, url: &str) -> Option<String> {
    let stamp = repository.with_extension("head");
    if is_fresh(&stamp, fetcher.time_to_live)
        && let Ok(known) = std::fs::read_to_string(&stamp)
    {
        return Some(known);
    }
    let asked = line(git(repository).args(["ls-remote", "--symref", "--", url, "HEAD"]));
    let found = asked.ok().and_then(|text| {
        let first = text.lines().next()?;
        let name = first.strip_prefix("ref: ").and_then(|rest| rest.split_ascii_whitespace().next());
        Some(name.unwrap_or("HEAD").to_owned())
    });
    match found {
        Some(found) => {
            if let Err(error) = std::fs::write(&stamp, &found) {
                log::debug!("not remembering the branch of {url}: {error}");
            }
            Some(found)
        }
        None => std::fs::read_to_string(&stamp).ok(),
    }
}

fn is_fresh(stamp: &Path, time_to_live: u64) -> bool {
    let changed = std::fs::metadata(stamp).and_then(|found| found.modified());
    let age = changed.ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
    age.is_some_and(|age| age < Duration::from_secs(time_to_live))
}

/// The tree of a revision that the repository has.
fn revision(
    fetcher: &Fetcher<'_>,
    repository: &Path,
    wanted: &Wanted<'_>,
    name: &str,
    attributes: &mut Attributes,
) -> Result<StorePath, IoError> {
    let revision = wanted.revision.as_deref().unwrap_or("HEAD");
    let is_shallow = line(git(repository).args(["rev-parse", "--is-shallow-repository"]))? == "true";
    if is_shallow && !wanted.shallow {
        return Err(IoError::Store(format!(
            "'{}' is a shallow Git repository, but a non-shallow repository is needed; `shallow = true;` takes it as it is",
            wanted.url
        )));
    }
    if !run(git(repository).args(["cat-file", "-e", &format!("{revision}^{{commit}}")]))?.status.success() {
        return Err(IoError::Store(format!(
            "Cannot find Git revision '{revision}' in ref '{}' of repository '{}'! Please make sure that the rev exists on \
             the ref you've specified or add allRefs = true; to fetchGit.",
            wanted.reference.unwrap_or("HEAD"),
            wanted.url
        )));
    }
    let work = tempfile::tempdir().map_err(system("making a directory in", &std::env::temp_dir()))?;
    let tree = work.path().join("tree");
    if wanted.submodules {
        with_submodules(repository, wanted, revision, &tree)?;
    } else {
        let archive = work.path().join("archive.tar");
        output(git(repository).args(["archive", "--format=tar", "-o"]).arg(&archive).arg(revision))?;
        std::fs::create_dir(&tree).map_err(system("creating", &tree))?;
        let file = std::fs::File::open(&archive).map_err(system("opening", &archive))?;
        let mut archived = tar::Archive::new(std::io::BufReader::new(file));
        archived.unpack(&tree).map_err(system("unpacking", &archive))?;
    }
    let time = line(git(repository).args(["log", "-1", "--format=%ct", "--no-show-signature", revision]))?;
    attributes.insert("lastModified".to_owned(), TreeAttribute::Int(time.parse().unwrap_or(0)));
    attributes.insert("rev".to_owned(), TreeAttribute::Text(revision.to_owned()));
    if !wanted.shallow {
        let count = line(git(repository).args(["rev-list", "--count", revision]))?;
        attributes.insert("revCount".to_owned(), TreeAttribute::Int(count.parse().unwrap_or(0)));
    }
    let added = fetcher.store.add_path(&tree, name, Method::Recursive, Algorithm::Sha256);
    added.map_err(|error| store_error(&error))
}

/// Checks a revision out with everything that it includes.
fn with_submodules(
    repository: &Path,
    wanted: &Wanted<'_>,
    revision: &str,
    tree: &Path,
) -> Result<(), IoError> {
    std::fs::create_dir(tree).map_err(system("creating", tree))?;
    output(git(tree).args(["-c", "init.defaultBranch=firn", "init", "--quiet"]))?;
    output(
        git(tree).args(["fetch", "--quiet", "--update-head-ok", "--"]).arg(repository).arg("+refs/*:refs/*"),
    )?;
    output(git(tree).args(["checkout", "--quiet", "--detach", revision]))?;
    // Relative addresses of submodules start at the repository's own.
    output(git(tree).args(["remote", "add", "origin", &wanted.url]))?;
    output(git(tree).args(["submodule", "--quiet", "update", "--init", "--recursive"]))?;
    remove_git(tree)
}

/// Removes git's own files from a tree.
fn remove_git(tree: &Path) -> Result<(), IoError> {
    for entry in std::fs::read_dir(tree).map_err(system("reading directory", tree))? {
        let path = entry.map_err(system("reading directory", tree))?.path();
        let is_directory = path.is_dir() && !path.is_symlink();
        if path.file_name() == Some(".git".as_ref()) {
            let removed =
                if is_directory { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(system("removing", &path))?;
        } else if is_directory {
            remove_git(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_reference;

    #[test]
    fn names_of_branches() {
        for name in ["foox", "foo.baz", "foo/bar/baz", "foo./bar", "heads/foo@bar", "$1", "foo.locke", "HEAD"]
        {
            assert!(is_reference(name), "{name}");
        }
        for name in [
            "", "@", "a//b", "a/", "/a", ".a", "a/.b", "a b", "a?", "a^", "a~", "a:b", "a[b", "a.", "a..b",
            "a.lock", "a.lock/b", "v@{x", "a\\b", "a\t", "a\u{7f}", "a/*",
        ] {
            assert!(!is_reference(name), "{name}");
        }
    }
}
