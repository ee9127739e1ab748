//! What a client sets for itself, and what it may.

use super::super::connection::Trust;
use super::super::wire::{read_number, read_text};
use super::{Reply, Session, failed, fatal};
use crate::error::Error;
use crate::open::Store;
use std::io::Read;
use std::sync::Arc;

/// Settings that say how the store is opened.
const STORE_SETTINGS: [&str; 5] =
    ["substituters", "substitute", "trusted-public-keys", "require-sigs", "secret-key-files"];

/// What a client never decides, whoever it is: it concerns the client's own program, or the daemon as a whole.
const NEVER_SET: [&str; 8] = [
    "experimental-features",
    "extra-experimental-features",
    "plugin-files",
    "extra-plugin-files",
    "allowed-users",
    "trusted-users",
    "extra-trusted-users",
    "ssh-auth-sock",
];

impl Session<'_> {
    pub(super) fn set_options(&mut self, input: &mut dyn Read) -> Reply {
        let mut numbers = [0; 12];
        for number in &mut numbers {
            *number = read_number(input).map_err(fatal)?;
        }
        let [keep_failed, keep_going, _, _, jobs, silent, _, verbose_build, _, _, cores, substitute] =
            numbers;
        let mut nix = self.settings.nix.clone();
        let truth = |number: u64| if number == 0 { "false" } else { "true" };
        nix.set("keep-failed", truth(keep_failed));
        nix.set("keep-going", truth(keep_going));
        nix.set("max-jobs", &jobs.max(1).to_string());
        nix.set("max-silent-time", &silent.to_string());
        nix.set("cores", &cores.to_string());
        nix.set("substitute", truth(substitute));
        self.show_build_logs = verbose_build == 0;
        let count = read_number(input).map_err(fatal)?;
        let mut given = Vec::new();
        for _ in 0..count {
            given.push((read_text(input).map_err(fatal)?, read_text(input).map_err(fatal)?));
        }
        for (name, value) in given {
            if self.may_set(&name, &value) {
                nix.set(&name, &value);
            } else if !NEVER_SET.contains(&name.as_str()) {
                let text = format!(
                    "warning: ignoring the client-specified setting '{name}', because it is a restricted setting and you are not a trusted user"
                );
                self.client.message(&text).map_err(fatal)?;
            }
        }
        // How its own requests are done, a builder does not decide.
        if self.settings.restriction.is_some() {
            return self.answer(Ok(()), |_, ()| {});
        }
        let changed = |name: &&str| nix.words(name, &[]) != self.nix.words(name, &[]);
        let reopened = if STORE_SETTINGS.iter().any(changed) {
            (self.settings.store_options)(&nix)
                .map_err(Error::Invalid)
                .and_then(|options| Store::open_with(self.store.layout().clone(), options))
                .map(Some)
        } else {
            Ok(None)
        };
        if let Some(store) = reopened.map_err(failed)? {
            self.earlier.push(std::mem::replace(&mut self.store, Arc::new(store)));
        }
        self.options = self.settings.build.clone();
        nix.apply(&mut self.options);
        self.nix = nix;
        self.answer(Ok(()), |_, ()| {})
    }

    /// Whether the client may change a setting for itself.
    pub(super) fn may_set(&self, name: &str, value: &str) -> bool {
        let harmless = matches!(
            name,
            "timeout" | "build-timeout" | "max-silent-time" | "connect-timeout" | "build-poll-interval"
        ) || (name == "builders" && value.is_empty())
            || (matches!(name, "substituters" | "extra-substituters") && self.trusts_caches(value));
        !NEVER_SET.contains(&name) && (harmless || self.trust == Trust::Trusted)
    }

    /// Whether all these caches are ones that anybody may use.
    pub(super) fn trusts_caches(&self, caches: &str) -> bool {
        let nix = &self.settings.nix;
        let known = [nix.words("substituters", &[]), nix.words("trusted-substituters", &[])].concat();
        let plain = |text: &str| text.trim_end_matches('/').to_owned();
        caches.split_ascii_whitespace().all(|cache| known.iter().any(|known| plain(known) == plain(cache)))
    }
}
