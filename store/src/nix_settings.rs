//! Settings under the names that `nix.conf` gives them: from its text, from command lines, from the daemon's clients.
//! nix.conf(5). Knows old names and `extra-`; values stay text until they are applied.

use crate::build::{BuildOptions, FreeSpace, Limits, Machine, Sandbox, SandboxPath, static_shell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names that settings had in earlier versions of Nix.
const ALIASES: &[(&str, &str)] = &[
    ("binary-cache-public-keys", "trusted-public-keys"),
    ("binary-caches", "substituters"),
    ("build-cache-failure", "cache-failure"),
    ("build-chroot-dirs", "sandbox-paths"),
    ("build-compress-log", "compress-build-log"),
    ("build-cores", "cores"),
    ("build-extra-platforms", "extra-platforms"),
    ("build-extra-sandbox-paths", "extra-sandbox-paths"),
    ("build-fallback", "fallback"),
    ("build-keep-log", "keep-build-log"),
    ("build-max-jobs", "max-jobs"),
    ("build-max-log-size", "max-build-log-size"),
    ("build-max-silent-time", "max-silent-time"),
    ("build-sandbox-paths", "sandbox-paths"),
    ("build-timeout", "timeout"),
    ("build-use-chroot", "sandbox"),
    ("build-use-sandbox", "sandbox"),
    ("build-use-substitutes", "substitute"),
    ("gc-keep-derivations", "keep-derivations"),
    ("gc-keep-outputs", "keep-outputs"),
    ("trusted-binary-caches", "trusted-substituters"),
    ("use-binary-caches", "substitute"),
];

/// Settings by name.
#[derive(Debug, Clone, Default)]
pub struct NixSettings {
    values: BTreeMap<String, String>,
    /// What `extra-NAME` adds to a list whose base is not set here.
    extra: BTreeMap<String, String>,
}

impl NixSettings {
    /// Sets one, given as a line of `nix.conf` would: old names are understood, `extra-` appends.
    pub fn set(&mut self, name: &str, value: &str) {
        let name = ALIASES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
        if let Some(list) = name.strip_prefix("extra-").filter(|name| *name != "platforms") {
            let list = ALIASES.iter().find(|(old, _)| *old == list).map_or(list, |(_, new)| new);
            let target = if self.values.contains_key(list) { &mut self.values } else { &mut self.extra };
            let before = target.entry(list.to_owned()).or_default();
            if !before.is_empty() {
                before.push(' ');
            }
            before.push_str(value);
        } else {
            self.extra.remove(name);
            self.values.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Reads the text of a `nix.conf`. `include` gives the text of a file named in an `include` line.
    pub fn read(&mut self, text: &str, include: &mut dyn FnMut(&mut Self, &Path)) {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(file) = line.strip_prefix("include ").or_else(|| line.strip_prefix("!include ")) {
                include(self, Path::new(file.trim()));
            } else if let Some((name, value)) = line.split_once('=') {
                self.set(name.trim(), value.trim());
            } else if !line.is_empty() {
                log::warn!("nix.conf: `{line}` is no setting");
            }
        }
    }

    /// The text of a setting, if it is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A truth.
    #[must_use]
    pub fn flag(&self, name: &str, default: bool) -> bool {
        match self.get(name) {
            Some("true" | "yes" | "1") => true,
            Some("false" | "no" | "0") => false,
            Some(other) => {
                log::warn!("setting `{name}`: `{other}` is neither true nor false; {default} it is");
                default
            }
            None => default,
        }
    }

    /// A number; zero and nonsense count as not set. Sizes may end in K, M, G or T.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let text = self.get(name)?;
        let (digits, shift) = match text.char_indices().next_back()? {
            (end, 'K') => (text.get(..end)?, 10),
            (end, 'M') => (text.get(..end)?, 20),
            (end, 'G') => (text.get(..end)?, 30),
            (end, 'T') => (text.get(..end)?, 40),
            _ => (text, 0),
        };
        digits.parse::<u64>().ok()?.checked_shl(shift).filter(|number| *number > 0)
    }

    /// The words of a list that is set or added to.
    #[must_use]
    pub fn given_words(&self, name: &str) -> Vec<&str> {
        [&self.values, &self.extra]
            .into_iter()
            .filter_map(|map| map.get(name))
            .flat_map(|text| text.split_ascii_whitespace())
            .collect()
    }

    /// A list of words: those set, or the default, and those added by `extra-`.
    #[must_use]
    pub fn words(&self, name: &str, default: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = match self.get(name) {
            Some(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
            None => default.iter().map(|word| (*word).to_owned()).collect(),
        };
        let extra = self.extra.get(name).map(String::as_str).unwrap_or_default();
        words.extend(extra.split_ascii_whitespace().map(str::to_owned));
        words
    }

    /// Whether an experimental feature of Nix is switched on.
    #[must_use]
    pub fn has_feature(&self, feature: &str) -> bool {
        self.words("experimental-features", &[]).iter().any(|word| word == feature)
    }

    /// All settings as the text of a `nix.conf`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.values {
            // Where order means nothing, as Nix prints it.
            let mut words: Vec<&str> = value.split_ascii_whitespace().collect();
            let value = if ["experimental-features", "extra-platforms", "system-features"].contains(&&**name)
            {
                words.sort_unstable();
                &words.join(" ")
            } else {
                value
            };
            text += &[name, " = ", value, "\n"].concat();
        }
        for (name, value) in &self.extra {
            text += &["extra-", name, " = ", value, "\n"].concat();
        }
        text
    }

    /// Changes how builds run to what the settings say.
    pub fn apply(&self, options: &mut BuildOptions) {
        let seconds = |name: &str| self.number(name).map(Duration::from_secs);
        if self.get("max-jobs") == Some("0") {
            options.max_jobs = 0;
        } else if self.get("max-jobs") == Some("auto") {
            options.max_jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        } else if let Some(jobs) = self.number("max-jobs") {
            options.max_jobs = jobs as usize;
        }
        if let Some(cores) = self.number("cores") {
            options.cores = cores as usize;
        }
        options.keep_going = self.flag("keep-going", options.keep_going);
        options.keep_failed = self.flag("keep-failed", options.keep_failed);
        options.fallback = self.flag("fallback", options.fallback);
        options.substitute = self.flag("substitute", options.substitute);
        options.auto_optimise = self.flag("auto-optimise-store", options.auto_optimise);
        options.timeout = seconds("timeout").or(options.timeout);
        options.max_silent = seconds("max-silent-time").or(options.max_silent);
        options.max_log_size = self.number("max-build-log-size").or(options.max_log_size);
        if let Some(lines) = self.number("log-lines") {
            options.log_lines = lines as usize;
        }
        if let Some(system) = self.get("system") {
            options.systems = BTreeSet::from([system.to_owned()]);
        }
        options.systems.extend(self.words("extra-platforms", &[]));
        if self.get("system-features").is_some() {
            options.features = BTreeSet::new();
        }
        options.features.extend(self.words("system-features", &[]));
        if self.words("experimental-features", &[]).iter().any(|word| word == crate::build::RECURSIVE_NIX) {
            options.features.insert(crate::build::RECURSIVE_NIX.to_owned());
        }
        for word in self.words("impure-env", &[]) {
            if let Some((name, value)) = word.split_once('=') {
                options.impure_env.insert(name.to_owned(), value.to_owned());
            }
        }
        options.use_cgroups = self.get("use-cgroups").map(|_| self.flag("use-cgroups", true));
        options.limits =
            Limits { memory: self.number("build-memory-max"), tasks: self.number("build-tasks-max") };
        options.free_space = self.free_space();
        options.note_realisations |= self.has_feature("ca-derivations");
        options.hashed_mirrors = self.words("hashed-mirrors", &[]);
        options.post_build_hook =
            self.get("post-build-hook").filter(|hook| !hook.is_empty()).map(PathBuf::from);
        options.hook_settings = self.to_text();
        self.apply_machines(options);
        self.apply_sandbox(options);
    }

    /// When to make room, if that is wanted.
    #[must_use]
    pub fn free_space(&self) -> Option<FreeSpace> {
        let interval = self.number("min-free-check-interval").map(Duration::from_secs);
        self.number("min-free").map(|min| FreeSpace {
            min,
            max: self.number("max-free").unwrap_or(u64::MAX),
            interval: interval.unwrap_or(Duration::from_secs(5)),
            keep_outputs: self.flag("keep-outputs", false),
            keep_derivations: self.flag("keep-derivations", true),
        })
    }

    fn apply_machines(&self, options: &mut BuildOptions) {
        let machines = match self.get("builders") {
            Some(text) => Machine::read(text),
            None => Machine::read(&format!("@{}/machines", Self::directory().display())),
        };
        match machines {
            Ok(machines) => options.machines = machines,
            Err(error) => log::warn!("{error}; nobody builds for us"),
        }
        options.machines_substitute = self.flag("builders-use-substitutes", false);
    }

    /// Where the machine's settings are: `$NIX_CONF_DIR` or `/etc/nix`.
    #[must_use]
    pub fn directory() -> PathBuf {
        let given = std::env::var_os("NIX_CONF_DIR").filter(|value| !value.is_empty());
        given.map_or_else(|| PathBuf::from("/etc/nix"), PathBuf::from)
    }

    fn apply_sandbox(&self, options: &mut BuildOptions) {
        let paths = self.words("sandbox-paths", &[]);
        match self.get("sandbox") {
            Some("false") => options.sandbox = Sandbox::Off,
            // `relaxed` lets single derivations out in Nix; here they stay in.
            Some(_) => options.sandbox = Sandbox::default(),
            None => {}
        }
        if let Sandbox::Required(known) = &mut options.sandbox {
            for path in paths {
                let (path, optional) = match path.strip_suffix('?') {
                    Some(path) => (path.to_owned(), true),
                    None => (path, false),
                };
                let (target, source) = path.split_once('=').unwrap_or((&path, &path));
                let (target, source) = (PathBuf::from(target), PathBuf::from(source));
                known.retain(|path| path.target != target);
                known.push(SandboxPath { target, source, optional });
            }
            if known.is_empty() {
                let shell = static_shell();
                known.extend(shell.map(|source| SandboxPath {
                    target: "/bin/sh".into(),
                    source,
                    optional: false,
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> NixSettings {
        let mut settings = NixSettings::default();
        settings.read(text, &mut |settings, file| {
            assert_eq!(file, Path::new("other.conf"));
            settings.set("cores", "3");
        });
        settings
    }

    #[test]
    fn lines_aliases_and_lists() {
        let settings = read(
            "# comment\nbuild-max-jobs = 4 # four\nextra-substituters = a\nextra-substituters = b\n\
             trusted-users = root\nextra-trusted-users = @wheel\ninclude other.conf\nmin-free = 2G\nsandbox = false\n",
        );
        assert_eq!(settings.number("max-jobs"), Some(4));
        assert_eq!(settings.words("substituters", &["default"]), ["default", "a", "b"]);
        assert_eq!(settings.words("trusted-users", &["root"]), ["root", "@wheel"]);
        assert_eq!(settings.number("min-free"), Some(2 << 30));
        let mut options = BuildOptions::default();
        settings.apply(&mut options);
        assert_eq!((options.max_jobs, options.cores, options.sandbox), (4, 3, Sandbox::Off));
    }

    #[test]
    fn the_text_can_be_read_again() {
        let text = "a = 1\nextra-b = 2 3\n";
        assert_eq!(read(text).to_text(), text);
    }

    #[test]
    fn sandbox_paths() {
        let mut options = BuildOptions::default();
        read("sandbox = true\nsandbox-paths = /bin/sh=/s /opt?").apply(&mut options);
        let path = |target: &str, source: &str, optional| SandboxPath {
            target: target.into(),
            source: source.into(),
            optional,
        };
        let Sandbox::Required(paths) = options.sandbox else { panic!("a sandbox") };
        assert!(paths.ends_with(&[path("/bin/sh", "/s", false), path("/opt", "/opt", true)]));
    }
}
