//! Settings as Nix has them: `/etc/nix/nix.conf` (or `$NIX_CONF_DIR`), the user's `nix/nix.conf`, `$NIX_CONFIG`, then
//! `--option NAME VALUE` of the command line; later ones win, `extra-NAME` appends. Nix manual, "nix.conf". Names that
//! nothing here asks for are not looked at.

use anyhow::{Context as _, Result, bail};
use formats::signature::{PublicKey, TrustedKeys};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use store::NixSettings;
use store::build::{BuildOptions, Sandbox};
use store::cache::{Address, Substituters};
use store::trust::Trust;

/// How deep files may include files.
const INCLUDE_LIMIT: u32 = 8;

/// What `--option` gave, before any settings are read.
static OVERRIDES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Settings by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct NixConf {
    settings: NixSettings,
}

impl NixConf {
    /// Adds a setting of the command line: it wins over all files.
    pub(crate) fn override_with(name: &str, value: &str) {
        let mut overrides = OVERRIDES.lock().unwrap_or_else(PoisonError::into_inner);
        overrides.push((name.to_owned(), value.to_owned()));
    }

    /// The settings of this process.
    pub(crate) fn load() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut settings = Self::default();
        let system = variable("NIX_CONF_DIR").map_or_else(|| PathBuf::from("/etc/nix"), PathBuf::from);
        settings.read_file(&system.join("nix.conf"), 0);
        // The first wins.
        for file in user_files().iter().rev() {
            settings.read_file(file, 0);
        }
        settings.read_text(&std::env::var("NIX_CONFIG").unwrap_or_default(), Path::new("/"), 0);
        let overrides = OVERRIDES.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, value) in overrides {
            settings.assign(&name, &value);
        }
        settings
    }

    fn read_file(&mut self, file: &Path, depth: u32) {
        match std::fs::read_to_string(file) {
            Ok(text) => self.read_text(&text, file.parent().unwrap_or(Path::new("/")), depth),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => log::warn!("settings file {}: {error}", file.display()),
        }
    }

    fn read_text(&mut self, text: &str, directory: &Path, depth: u32) {
        let mut settings = std::mem::take(&mut self.settings);
        settings.read(text, &mut |settings, file| {
            if depth < INCLUDE_LIMIT {
                let mut inner = Self { settings: std::mem::take(settings) };
                inner.read_file(&directory.join(file), depth + 1);
                *settings = inner.settings;
            }
        });
        self.settings = settings;
    }

    /// Sets one setting; `extra-NAME` appends.
    pub(crate) fn assign(&mut self, name: &str, value: &str) {
        self.settings.set(name, value);
    }

    /// The settings as the store's library takes them.
    pub(crate) const fn settings(&self) -> &NixSettings {
        &self.settings
    }

    /// A setting's text, if it is set.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.settings.get(name)
    }

    /// A setting's words; none if it is not set.
    pub(crate) fn words(&self, name: &str) -> Vec<&str> {
        self.settings.given_words(name)
    }

    /// A truth.
    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        self.settings.flag(name, default)
    }

    /// How builds run with these settings.
    pub(crate) fn build_options(&self) -> BuildOptions {
        let mut build = default_build();
        self.settings.apply(&mut build);
        build
    }

    /// The caches to take paths from: `substituters`, unless `substitute` is off.
    fn substituters(&self) -> Substituters {
        let mut addresses = Vec::new();
        for text in self.words("substituters") {
            match Address::parse(text) {
                Ok(address) => addresses.push(address),
                Err(error) => log::warn!("substituters: {error}; it is left out"),
            }
        }
        if !self.flag("substitute", true) {
            addresses.clear();
        }
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        Substituters::new(addresses, cache.map(|cache| cache.join("nix")))
    }

    /// How a store is opened with these settings.
    pub(crate) fn store_options(&self) -> Result<store::Options> {
        let mut keys = TrustedKeys::default();
        for text in self.words("trusted-public-keys") {
            let key: PublicKey = text.parse().with_context(|| format!("trusted-public-keys: `{text}`"))?;
            keys.add(key);
        }
        let mut secret_keys = Vec::new();
        for file in self.words("secret-key-files") {
            secret_keys.push(store::trust::read_secret_key(Path::new(file))?);
        }
        Ok(store::Options {
            durable: self.flag("fsync-metadata", true),
            trust: Trust { require_signatures: self.flag("require-sigs", true), keys },
            secret_keys,
            substituters: std::sync::Arc::new(self.substituters()),
            free_space: self.settings.free_space(),
        })
    }
}

/// The files of the user's own settings, those first that win: `$NIX_USER_CONF_FILES`, or `nix/nix.conf` in the directories
/// of the XDG base directory specification.
pub(crate) fn user_files() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(files) = std::env::var_os("NIX_USER_CONF_FILES") {
        return std::env::split_paths(&files).collect();
    }
    let own = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
    let shared = variable("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into());
    let directories = own.into_iter().chain(std::env::split_paths(&shared));
    directories.map(|directory| directory.join("nix/nix.conf")).collect()
}

/// How a store is opened with settings that somebody changed.
pub(crate) fn options_of(settings: &NixSettings) -> std::result::Result<store::Options, String> {
    let conf = NixConf { settings: settings.clone() };
    conf.store_options().map_err(|error| format!("{error:#}"))
}

/// How builds run before settings are applied.
pub(crate) fn default_build() -> BuildOptions {
    let mut build = BuildOptions::default();
    if std::env::var_os("_NIX_TEST_NO_SANDBOX").is_some() {
        build.sandbox = Sandbox::Off;
    }
    build
}

/// Takes `--option NAME VALUE` pairs as clap gives them.
pub(crate) fn take_options(pairs: impl IntoIterator<Item = String>) -> Result<()> {
    let mut pairs = pairs.into_iter();
    while let Some(name) = pairs.next() {
        let Some(value) = pairs.next() else { bail!("--option {name} needs a value") };
        NixConf::override_with(&name, &value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_lines_win_and_extra_ones_append() {
        let mut conf = NixConf::default();
        let text = "substituters = a\n# no\nextra-substituters = b # yes\nbinary-caches = c d\nextra-substituters = e\n";
        conf.read_text(text, Path::new("/"), 0);
        assert_eq!(conf.words("substituters"), ["c", "d", "e"]);
        assert_eq!(conf.words("trusted-public-keys"), Vec::<&str>::new());
    }

    #[test]
    fn values() {
        let mut conf = NixConf::default();
        for (name, value) in [("yes", "true"), ("no", "false"), ("odd", "perhaps")] {
            conf.assign(name, value);
        }
        assert!(
            conf.flag("yes", false)
                && !conf.flag("no", true)
                && conf.flag("odd", true)
                && conf.flag("unset", true)
        );
    }

    #[test]
    fn a_bad_key_is_an_error_that_names_it() {
        let mut conf = NixConf::default();
        conf.assign("trusted-public-keys", "cache:xyz");
        let error = format!("{:#}", conf.store_options().unwrap_err());
        assert!(error.contains("trusted-public-keys") && error.contains("cache:xyz"), "{error}");
    }
}
