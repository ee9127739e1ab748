//! What the commands under Nix's names share: how their arguments are written (`-rvv`, `-j2`), the flags that all of them
//! take, and the store that they work on. nix-build(1) "Common options", nix.conf(5).

use crate::family::Failure;
use crate::nix_conf::NixConf;
use crate::progress::{LogFormat, say};
use anyhow::{Context as _, Result, bail};
use formats::flake::FlakeRef;
use formats::store_path::{StoreDir, StorePath};
use nix::unistd::AccessFlags;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use store::build::{BuildOptions, BuildReport, Wanted};
use store::cache::{Address, Cache, Place};
use store::{Layout, Store};

/// Settings that are flags by themselves: `--NAME` and `--no-NAME`.
const TRUTHS: &[&str] = &[
    "fallback",
    "keep-derivations",
    "keep-failed",
    "keep-going",
    "keep-outputs",
    "gc-keep-derivations",
    "gc-keep-outputs",
    "require-sigs",
    "restrict-eval",
    "pure-eval",
    "allow-import-from-derivation",
    "sandbox",
    "substitute",
    "auto-optimise-store",
    "compress-build-log",
    "keep-build-log",
    "use-case-hack",
    "accept-flake-config",
    "allow-dirty",
    "allow-dirty-locks",
    "warn-dirty",
    "fsync-metadata",
    "run-diff-hook",
    "show-trace",
    "trace-function-calls",
    "print-missing",
    "builders-use-substitutes",
    "enforce-determinism",
    "use-cgroups",
];

/// Settings that take a value: `--NAME VALUE`.
const VALUES: &[&str] = &[
    "access-tokens",
    "commit-lock-file-summary",
    "commit-lockfile-summary",
    "extra-access-tokens",
    "flake-registry",
    "build-hook",
    "build-memory-max",
    "build-tasks-max",
    "builders",
    "connect-timeout",
    "cores",
    "diff-hook",
    "eval-store",
    "eval-system",
    "experimental-features",
    "extra-experimental-features",
    "extra-platforms",
    "extra-sandbox-paths",
    "extra-substituters",
    "extra-trusted-public-keys",
    "hashed-mirrors",
    "impure-env",
    "log-lines",
    "max-build-log-size",
    "max-call-depth",
    "max-free",
    "max-jobs",
    "max-silent-time",
    "min-free",
    "min-free-check-interval",
    "nar-buffer-size",
    "post-build-hook",
    "sandbox-build-dir",
    "sandbox-paths",
    "secret-key-files",
    "store",
    "substituters",
    "system",
    "system-features",
    "timeout",
    "user-builds-max",
    "user-connections-max",
    "trusted-public-keys",
    "narinfo-cache-negative-ttl",
    "narinfo-cache-positive-ttl",
    "tarball-ttl",
];

/// Settings of what fetches.
const FETCHING: [&str; 11] = [
    "accept-flake-config",
    "access-tokens",
    "allow-dirty",
    "allow-dirty-locks",
    "commit-lock-file-summary",
    "commit-lockfile-summary",
    "extra-access-tokens",
    "flake-registry",
    "tarball-ttl",
    "use-registries",
    "warn-dirty",
];

/// The arguments, taken one by one.
#[derive(Debug)]
pub(crate) struct Arguments(VecDeque<OsString>);

impl Arguments {
    /// Takes flags written together apart: `-rvv` is `-r -v -v`, `-j2` is `-j 2`.
    pub(crate) fn new(arguments: &[OsString]) -> Self {
        let mut split = VecDeque::new();
        let mut literal = false;
        for argument in arguments {
            let text = argument.to_str().unwrap_or_default();
            literal |= text == "--";
            let bytes = text.as_bytes();
            let joined = bytes.len() > 2
                && bytes.first() == Some(&b'-')
                && bytes[1..].first().is_some_and(u8::is_ascii_alphabetic);
            if literal || !joined || text.starts_with("-I") {
                split.push_back(argument.clone());
                continue;
            }
            let flags = text.trim_start_matches('-');
            let letters = flags.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(flags.len());
            for letter in flags.chars().take(letters) {
                split.push_back(format!("-{letter}").into());
            }
            if let Some(rest) = flags.get(letters..).filter(|rest| !rest.is_empty()) {
                split.push_back(rest.into());
            }
        }
        Self(split)
    }

    /// The next argument.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.0.pop_front().map(|argument| argument.to_string_lossy().into_owned())
    }

    /// The value that belongs to a flag.
    pub(crate) fn value(&mut self, flag: &str) -> Result<String> {
        self.next().with_context(|| format!("flag '{flag}' requires an argument"))
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// What every command under a Nix name knows.
#[derive(Debug)]
pub(crate) struct Front {
    /// The settings, with what the command line changed.
    pub(crate) conf: NixConf,
    /// What the command line changed, in order.
    pub(crate) given: Vec<(String, String)>,
    /// How much is said: 0 and more.
    pub(crate) verbosity: i32,
    /// Whether what builders say is shown.
    pub(crate) show_logs: bool,
    /// How builds are shown.
    pub(crate) log_format: LogFormat,
}

impl Front {
    /// Reads the settings.
    pub(crate) fn new() -> Self {
        Self {
            conf: NixConf::load(),
            given: Vec::new(),
            verbosity: 0,
            show_logs: true,
            log_format: LogFormat::Raw,
        }
    }

    /// Takes a flag that all commands have. False when it is not one.
    pub(crate) fn take(&mut self, flag: &str, arguments: &mut Arguments) -> Result<bool> {
        match flag {
            "-v" | "--verbose" | "--debug" => self.verbosity += 1,
            "--quiet" => self.verbosity -= 1,
            "-Q" | "--no-build-output" => self.show_logs = false,
            "-L" | "--print-build-logs" => {
                self.show_logs = true;
                self.log_format = self.log_format.with_logs(true);
            }
            "-j" => self.set("max-jobs", &arguments.value(flag)?),
            "-k" => self.set("keep-going", "true"),
            "-K" => self.set("keep-failed", "true"),
            "--log-format" => self.log_format = arguments.value(flag)?.parse()?,
            "--option" => {
                let name = arguments.value(flag)?;
                let value = arguments.value(flag)?;
                self.set(&name, &value);
            }
            "--refresh" => self.set("tarball-ttl", "0"),
            "--offline" => {
                self.set("tarball-ttl", "4294967295");
                self.set("substitute", "false");
            }
            "--override-flake" => {
                let reference = |text: String| FlakeRef::parse(&text, true, false);
                let from = reference(arguments.value(flag)?)?;
                crate::flakes::registries::override_flake(&from, &reference(arguments.value(flag)?)?);
            }
            "--no-gc-warning" | "--impure" | "--no-net" | "--no-write-lock-file" => {}
            _ => return self.take_setting(flag, arguments),
        }
        Ok(true)
    }

    fn take_setting(&mut self, flag: &str, arguments: &mut Arguments) -> Result<bool> {
        let Some(name) = flag.strip_prefix("--") else { return Ok(false) };
        if VALUES.contains(&name) {
            let value = arguments.value(flag)?;
            self.set(name, &value);
        } else if TRUTHS.contains(&name) {
            self.set(name, "true");
        } else if let Some(name) = name.strip_prefix("no-").filter(|name| TRUTHS.contains(name)) {
            self.set(name, "false");
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.conf.assign(name, value);
        // What is fetched is asked for deep inside an evaluation.
        if FETCHING.contains(&name) {
            NixConf::override_with(name, value);
        }
        self.given.push((name.to_owned(), value.to_owned()));
    }

    /// The store that was named: by a setting, or by `NIX_REMOTE`.
    fn store_setting(&self) -> Option<String> {
        let named = self.conf.text("store").map(str::to_owned);
        named.or_else(|| std::env::var("NIX_REMOTE").ok()).filter(|store| !store.is_empty())
    }

    /// The same for people.
    pub(crate) fn store_address(&self) -> String {
        self.store_setting().unwrap_or_else(|| "local".to_owned())
    }

    /// The cache that was named as the store, if one was.
    pub(crate) fn cache(&self) -> Result<Option<Cache>> {
        let Some(named) = self.store_setting() else { return Ok(None) };
        if !["file://", "http://", "https://"].iter().any(|scheme| named.starts_with(scheme)) {
            return Ok(None);
        }
        Ok(Some(Cache::open(&Address::parse(&absolute(&named)?)?, &layout(None)?.store_dir)?))
    }

    /// What paths of the store begin with.
    pub(crate) fn store_dir(&self) -> Result<StoreDir> {
        match self.store_setting().as_deref() {
            Some("dummy://") => Ok(layout(None)?.store_dir),
            Some(named) if named.contains("://") && !named.starts_with("local://") => {
                Ok(self.open()?.dir().clone())
            }
            address => Ok(layout(address)?.store_dir),
        }
    }

    /// Whether the store that is named was made before.
    pub(crate) fn has_store(&self) -> bool {
        layout(self.store_setting().as_deref()).is_ok_and(|layout| layout.state.join("db/db.sqlite").exists())
    }

    /// The store that the settings and the environment name.
    pub(crate) fn open(&self) -> Result<Store> {
        self.open_with(self.conf.store_options()?)
    }

    /// The same with other options.
    pub(crate) fn open_with(&self, options: store::Options) -> Result<Store> {
        let store = self.open_named(options.clone())?;
        if let Some(address) = self.conf.text("eval-store").filter(|address| !address.is_empty()) {
            store.evaluate_in(self.open_at(address, options)?)?;
        }
        Ok(store)
    }

    fn open_named(&self, options: store::Options) -> Result<Store> {
        if let Some(named) = self.store_setting()
            && let Some(store) = self.open_elsewhere(&named, options.clone())?
        {
            return Ok(store);
        }
        let layout = layout(self.store_setting().as_deref())?;
        let place = layout.real_store.display().to_string();
        if let Some(socket) = daemon_socket(self.store_setting().as_deref(), &layout) {
            return Store::connect(layout, options, &socket, self.given.clone())
                .with_context(|| format!("cannot use the daemon of the store `{place}`"));
        }
        Store::open_with(layout, options).with_context(|| format!("cannot open the store `{place}`"))
    }

    /// A store that is not in a directory: a cache, or one behind ssh. None for the others.
    fn open_elsewhere(&self, address: &str, options: store::Options) -> Result<Option<Store>> {
        let is = |schemes: &[&str]| schemes.iter().any(|scheme| address.starts_with(scheme));
        if is(&["ssh://", "ssh-ng://"]) {
            let settings = self.given.iter().filter(|(name, _)| name != "store").cloned().collect();
            let address = Address::parse(address)?;
            return Ok(Some(Store::over_ssh(&address, layout(None)?, options, settings)?));
        }
        if is(&["file://", "http://", "https://"]) {
            let layout = layout(None)?;
            let address = as_nix(Address::parse(&absolute(address)?)?);
            let cache = Cache::open(&address, &layout.store_dir)?;
            return Ok(Some(Store::of_cache(cache, layout, options)?));
        }
        Ok(None)
    }

    /// The store at another address than the one in use.
    pub(crate) fn open_at(&self, address: &str, options: store::Options) -> Result<Store> {
        if let Some(store) = self.open_elsewhere(address, options.clone())? {
            return Ok(store);
        }
        let layout = layout(Some(address))?;
        if let Some(socket) = daemon_socket(Some(address), &layout) {
            return Ok(Store::connect(layout, options, &socket, self.given.clone())?);
        }
        Store::open_with(layout, options).with_context(|| format!("cannot open the store `{address}`"))
    }

    /// How builds run.
    pub(crate) fn build_options(&self, store: &Store) -> BuildOptions {
        let mut conf = self.conf.clone();
        for (name, value) in crate::flakes::settings::applied() {
            conf.assign(&name, &value);
        }
        // A store's address may say what is built in it.
        if let Some(features) = self.store_setting().as_deref().and_then(features_of) {
            conf.assign("system-features", &features);
        }
        BuildOptions {
            progress: self.log_format.progress(store.dir().to_string(), self.show_logs),
            ..conf.build_options()
        }
    }

    /// Builds, with Nix's exit codes.
    pub(crate) fn build(
        store: &Store,
        requests: &[(StorePath, Wanted)],
        options: &BuildOptions,
    ) -> Result<BuildReport> {
        store.build(requests, options).map_err(|error| match &error {
            store::Error::Build(failed) => {
                anyhow::Error::new(Failure { code: failed.exit_code(), message: error.to_string() })
            }
            _ => error.into(),
        })
    }
}

/// The features of the machine, if the address says them.
pub(crate) fn features_of(address: &str) -> Option<String> {
    let (_, parameters) = address.split_once('?')?;
    let features = parameters.split('&').find_map(|pair| pair.strip_prefix("system-features="))?;
    Some(features.replace("%20", " "))
}

/// A cache's address with what Nix's commands assume: they pack with xz unless told otherwise, Firn's own with zstd.
pub(crate) fn as_nix(mut address: Address) -> Address {
    if matches!(address.place, Place::Directory(_) | Place::Server(_)) {
        address.parameters.entry("compression".to_owned()).or_insert_with(|| "xz".to_owned());
    }
    address
}

/// An address with its directory made absolute, as Nix takes `file://relative`.
pub(crate) fn absolute(address: &str) -> Result<String> {
    match address.strip_prefix("file://").filter(|rest| !rest.starts_with('/')) {
        Some(rest) => Ok(format!("file://{}", std::path::absolute(rest)?.display())),
        None => Ok(address.to_owned()),
    }
}

/// The layout of a store given as Nix's `--store` takes it; without it, what Nix's variables say, or Firn's own store.
pub(crate) fn layout(store: Option<&str>) -> Result<Layout> {
    let (address, parameters) =
        store.unwrap_or_default().split_once('?').unwrap_or((store.unwrap_or_default(), ""));
    let parameter = |name: &str| {
        parameters.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(PathBuf::from)
    };
    let from_environment = ["NIX_STORE_DIR", "NIX_STORE", "NIX_STATE_DIR"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some());
    let mut layout = match address.strip_prefix("local://").unwrap_or(address) {
        "" | "auto" | "daemon" | "local" if from_environment => {
            crate::store::daemon::layout_from_environment()
        }
        "" | "auto" | "daemon" | "local" => Layout::below(&crate::settings::store_root()?),
        unix if unix.starts_with("unix://") && from_environment => {
            crate::store::daemon::layout_from_environment()
        }
        unix if unix.starts_with("unix://") => Layout::below(Path::new("/")),
        root if root.starts_with('/') || root.starts_with("./") => below(&std::path::absolute(root)?),
        other => bail!("`{other}` is not a store that Firn can open: give a directory, `local` or `daemon`"),
    };
    if let Some(root) = parameter("root") {
        layout = below(&root);
    }
    if let Some(real) = parameter("real") {
        layout.real_store = real;
    }
    if let Some(state) = parameter("state") {
        layout.state = state;
    }
    if let Some(log) = parameter("log") {
        layout.log = log;
    }
    if let Some(store) = parameter("store") {
        layout.store_dir = StoreDir::new(&store.to_string_lossy());
    }
    Ok(layout)
}

/// The socket of the daemon that a store's address means. One that names no store means a daemon where the store is there,
/// is not ours to write, and has one listening.
pub(crate) fn daemon_socket(store: Option<&str>, layout: &Layout) -> Option<PathBuf> {
    let own = || match std::env::var_os("NIX_DAEMON_SOCKET_PATH").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => layout.state.join("daemon-socket/socket"),
    };
    let address = store.unwrap_or_default().split('?').next().unwrap_or_default();
    match address.strip_prefix("unix://") {
        Some("") => Some(own()),
        Some(path) => Some(PathBuf::from(path)),
        None if address == "daemon" => Some(own()),
        None if matches!(address, "" | "auto") => {
            let foreign =
                layout.state.is_dir() && nix::unistd::access(&layout.state, AccessFlags::W_OK).is_err();
            Some(own()).filter(|socket| foreign && socket.exists())
        }
        None => None,
    }
}

/// A store below a root directory, whose paths are called as `NIX_STORE_DIR` says.
fn below(root: &Path) -> Layout {
    let mut layout = Layout::below(root);
    if let Some(store) = std::env::var_os("NIX_STORE_DIR").filter(|store| !store.is_empty()) {
        layout.store_dir = StoreDir::new(&store.to_string_lossy());
        layout.real_store = root.join("nix/store");
    }
    layout
}

/// Prints the version as Nix's commands do.
pub(crate) fn print_version(name: &str) -> Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{name} (Firn) {}", crate::store::daemon::VERSION)?;
    Ok(())
}

/// Prints where settings come from, as `--version --verbose` does.
pub(crate) fn print_places() -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let files = crate::nix_conf::user_files();
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    writeln!(out, "User configuration files: {}", files.join(":"))?;
    writeln!(out, "Store directory: {}", layout(None)?.store_dir)?;
    Ok(())
}

/// Says what would be built.
pub(crate) fn print_missing(store: &Store, requests: &[(StorePath, Wanted)]) -> Result<()> {
    let missing = store.missing(requests)?;
    let list = |paths: &mut dyn Iterator<Item = &StorePath>| {
        paths.for_each(|path| say(&format!("  {}", store.dir().print(path))));
    };
    match missing.build.len() {
        0 => {}
        1 => say("this derivation will be built:"),
        count => say(&format!("these {count} derivations will be built:")),
    }
    list(&mut missing.build.iter());
    let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    let sizes = format!(
        "({:.2} MiB download, {:.2} MiB unpacked)",
        mib(missing.download_size),
        mib(missing.nar_size)
    );
    match missing.substitute.len() {
        0 => {}
        1 => say(&format!("this path will be fetched {sizes}:")),
        count => say(&format!("these {count} paths will be fetched {sizes}:")),
    }
    list(&mut missing.substitute.iter());
    if !missing.unknown.is_empty() {
        say("don't know how to build these paths (caches refer to them and do not have them):");
        list(&mut missing.unknown.iter());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_written_together() {
        let split = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
            Arguments::new(&arguments).rest()
        };
        assert_eq!(split(&["-rvv", "x"]), ["-r", "-v", "-v", "x"]);
        assert_eq!(split(&["-j2", "--add", "-"]), ["-j", "2", "--add", "-"]);
        assert_eq!(split(&["-I/path", "--", "-ab"]), ["-I/path", "--", "-ab"]);
    }

    #[test]
    fn stores_by_address() {
        let found = layout(Some("/there")).unwrap();
        assert_eq!(found.real_store, Path::new("/there/nix/store"));
        let found = layout(Some("local?root=/a&state=/b&real=/c")).unwrap();
        assert_eq!((found.real_store, found.state), ("/c".into(), "/b".into()));
        assert!(layout(Some("s3://bucket")).is_err());
    }
}
