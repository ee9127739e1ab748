//! `activation.json`: what a generation wants of the running system beside its services: /etc, users and groups,
//! wrappers, tmpfiles rules, kernel settings, snippets. Written by `os/modules`, read by `firn-activate`.
//!
//! Follows ARCHITECTURE.md, "The toplevel". Field names are NixOS's option names where NixOS has the option
//! (`users.users.<name>`, `security.wrappers.<name>`, `environment.etc.<name>`). An unknown key is an error that names it, so
//! that the Nix side and this side cannot drift apart unseen; lists that are absent are empty.

use crate::json_document::{DocumentError, parse_versioned};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The only version of the format so far.
pub const VERSION: u32 = 1;

/// The whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Activation {
    /// Always [`VERSION`].
    pub version: u32,
    /// The files below /etc.
    #[serde(default)]
    pub etc: Vec<EtcEntry>,
    /// Whether users that the configuration does not name are kept, and passwords that were changed by hand.
    #[serde(default = "yes")]
    pub mutable_users: bool,
    /// The users declared.
    #[serde(default)]
    pub users: Vec<User>,
    /// The groups declared.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Programs with set-id bits or file capabilities.
    #[serde(default)]
    pub wrappers: Vec<Wrapper>,
    /// Where the wrappers lie: `<wrapperDir>/bin` is the directory in PATH.
    #[serde(default = "default_wrapper_dir")]
    pub wrapper_dir: String,
    /// Lines as in tmpfiles.d(5).
    #[serde(default)]
    pub tmpfiles: Vec<String>,
    /// Kernel settings, `net.ipv4.ip_forward` → `1`.
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
    /// The host's name; empty means that it is left alone.
    #[serde(default)]
    pub host_name: String,
    /// What /bin/sh links to; absent: `sw/bin/sh` of the generation, if it has one.
    #[serde(default)]
    pub bin_sh: Option<String>,
    /// What /usr/bin/env links to; absent: `sw/bin/env` of the generation, if it has one.
    #[serde(default)]
    pub usr_bin_env: Option<String>,
    /// Modules to load in stage 2.
    #[serde(default)]
    pub kernel_modules: Vec<String>,
    /// Pieces of shell that the configuration adds (`system.activationScripts`).
    #[serde(default)]
    pub snippets: Vec<Snippet>,
    /// The shell that runs the snippets; required when there are any.
    #[serde(default)]
    pub snippet_shell: Option<String>,
    /// Packages whose `bin` and `sbin` are in the snippets' PATH.
    #[serde(default)]
    pub snippet_path: Vec<String>,
}

/// One file below /etc (`environment.etc.<name>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcEntry {
    /// The path below /etc, relative, without `..`.
    pub target: String,
    /// The file, directory or link that it shows.
    pub source: String,
    /// `symlink` (through /etc/static), `direct-symlink` (straight to the source) or an octal mode (a copy).
    #[serde(default = "default_etc_mode")]
    pub mode: String,
    /// The owner of a copy: a name, or `+UID`.
    #[serde(default = "root")]
    pub user: String,
    /// The group of a copy: a name, or `+GID`.
    #[serde(default = "root")]
    pub group: String,
}

/// One user (`users.users.<name>`).
#[expect(clippy::struct_excessive_bools, reason = "they are NixOS's options, one for one")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user id, or nothing: then one is chosen once and kept.
    #[serde(default)]
    pub uid: Option<u32>,
    /// The primary group's name.
    #[serde(default)]
    pub group: String,
    /// Further groups.
    #[serde(default)]
    pub extra_groups: Vec<String>,
    /// The GECOS field.
    #[serde(default)]
    pub description: String,
    /// The home directory.
    #[serde(default = "default_home")]
    pub home: String,
    /// Whether the home directory is made.
    #[serde(default)]
    pub create_home: bool,
    /// Its mode, octal.
    #[serde(default = "default_home_mode")]
    pub home_mode: String,
    /// The login shell's path.
    #[serde(default)]
    pub shell: String,
    /// Takes its id from the system range (400-999).
    #[serde(default)]
    pub is_system_user: bool,
    /// Takes its id from 1000 upwards.
    #[serde(default)]
    pub is_normal_user: bool,
    /// The hash as in shadow(5); enforced at each activation when users are immutable.
    #[serde(default)]
    pub hashed_password: Option<String>,
    /// A file whose first line is the hash.
    #[serde(default)]
    pub hashed_password_file: Option<String>,
    /// The password in clear text.
    #[serde(default)]
    pub password: Option<String>,
    /// In clear text, set only when the user is made.
    #[serde(default)]
    pub initial_password: Option<String>,
    /// The hash, set only when the user is made.
    #[serde(default)]
    pub initial_hashed_password: Option<String>,
    /// Ranges of subordinate user ids, subuid(5).
    #[serde(default)]
    pub sub_uid_ranges: Vec<SubordinateRange>,
    /// Ranges of subordinate group ids, subgid(5).
    #[serde(default)]
    pub sub_gid_ranges: Vec<SubordinateRange>,
    /// One range of 65536 subordinate ids is chosen once and kept.
    #[serde(default)]
    pub auto_sub_uid_gid_range: bool,
}

/// A range of subordinate ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubordinateRange {
    /// The first id.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// One group (`users.groups.<name>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// The group's name.
    pub name: String,
    /// The group id, or nothing: then one is chosen once and kept.
    #[serde(default)]
    pub gid: Option<u32>,
    /// Members beside those who name the group in `extraGroups`.
    #[serde(default)]
    pub members: Vec<String>,
}

/// One wrapper (`security.wrappers.<name>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wrapper {
    /// The file's name in `<wrapperDir>/bin`.
    pub program: String,
    /// The program that it is a privileged copy of.
    pub source: String,
    /// The owner's name.
    #[serde(default = "root")]
    pub owner: String,
    /// The group's name.
    #[serde(default = "root")]
    pub group: String,
    /// Mode as chmod(1) takes it: `u+rx,g+x,o+x` or octal.
    #[serde(default = "default_permissions")]
    pub permissions: String,
    /// Sets the set-user-id bit.
    #[serde(default)]
    pub setuid: bool,
    /// Sets the set-group-id bit.
    #[serde(default)]
    pub setgid: bool,
    /// File capabilities as setcap(8) takes them, or empty.
    #[serde(default)]
    pub capabilities: String,
}

/// One activation snippet (`system.activationScripts.<name>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snippet {
    /// Its name, which others name in `deps`.
    pub name: String,
    /// Snippets that must have run before. Names of Firn's own steps (`etc`, `users`, `groups`, `specialfs`, `var`, …)
    /// are met before any snippet runs.
    #[serde(default)]
    pub deps: Vec<String>,
    /// The shell text.
    pub text: String,
}

impl Activation {
    /// A document that wants nothing.
    pub fn empty() -> Self {
        Self {
            version: VERSION,
            etc: Vec::new(),
            mutable_users: true,
            users: Vec::new(),
            groups: Vec::new(),
            wrappers: Vec::new(),
            wrapper_dir: default_wrapper_dir(),
            tmpfiles: Vec::new(),
            sysctl: BTreeMap::new(),
            host_name: String::new(),
            bin_sh: None,
            usr_bin_env: None,
            kernel_modules: Vec::new(),
            snippets: Vec::new(),
            snippet_shell: None,
            snippet_path: Vec::new(),
        }
    }

    /// Reads the document.
    ///
    /// # Errors
    /// When it is no JSON, has a key that is not known, lacks one that is needed, or is of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        parse_versioned("activation.json", VERSION, bytes)
    }
}

fn yes() -> bool {
    true
}
fn root() -> String {
    "root".to_owned()
}
fn default_wrapper_dir() -> String {
    "/run/wrappers".to_owned()
}
fn default_etc_mode() -> String {
    "symlink".to_owned()
}
fn default_home() -> String {
    "/var/empty".to_owned()
}
fn default_home_mode() -> String {
    "700".to_owned()
}
fn default_permissions() -> String {
    "u+rx,g+x,o+x".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = r#"{ "version": 1,
      "etc": [{"target":"nginx/nginx.conf","source":"/nix/store/x","mode":"0440","user":"root","group":"root"}],
      "mutableUsers": true,
      "users": [{"name":"alice","uid":null,"group":"users","extraGroups":["wheel"],"description":"Alice","home":"/home/alice",
        "createHome":true,"homeMode":"700","shell":"/bin/sh","isSystemUser":false,"isNormalUser":true,"hashedPassword":null,
        "hashedPasswordFile":null,"password":null,"initialPassword":"x","initialHashedPassword":null}],
      "groups": [{"name":"users","gid":100,"members":[]}],
      "wrappers": [{"program":"ping","source":"/bin/ping","owner":"root","group":"root","permissions":"u+rx,g+x,o+x",
        "setuid":false,"setgid":false,"capabilities":"cap_net_raw+ep"}],
      "wrapperDir": "/run/wrappers",
      "tmpfiles": ["d /var/lib/x 0755 root root - -"],
      "sysctl": {"net.ipv4.ip_forward":"1"},
      "hostName": "firn", "kernelModules": ["tun"],
      "snippets": [{"name":"a","deps":[],"text":"true"}], "snippetShell": null, "snippetPath": [] }"#;

    #[test]
    fn the_contract_parses_and_survives_a_round_trip() {
        let parsed = Activation::parse(CONTRACT.as_bytes()).unwrap();
        assert_eq!(parsed.users[0].initial_password.as_deref(), Some("x"));
        assert_eq!(parsed.etc[0].mode, "0440");
        let again = serde_json::to_vec(&parsed).unwrap();
        assert_eq!(Activation::parse(&again).unwrap(), parsed);
    }

    #[test]
    fn drift_is_named() {
        for (text, expected) in [
            (r#"{"version":1,"hostname":"x"}"#, "hostname"),
            (r#"{"version":1,"users":[{"name":"a","homedir":"/"}]}"#, "homedir"),
            (r#"{"version":2}"#, "version 2"),
            (r#"{"etc":[]}"#, "version"),
            (r#"{"version":1,"etc":[{"target":"x"}]}"#, "source"),
        ] {
            let message = Activation::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("activation.json"), "{text}: {message}");
        }
    }

    #[test]
    fn what_is_absent_is_empty() {
        assert_eq!(Activation::parse(br#"{"version":1}"#).unwrap(), Activation::empty());
    }
}
