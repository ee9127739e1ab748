//! Units as they come from `os/modules`: sections of directives, each with its values in order, and the place of definition
//! (ARCHITECTURE.md, "Units: modules → units → init").

use serde::Deserialize;
use std::collections::BTreeMap;

/// Section → directive → values in order. An empty value resets a list, as in a unit file.
pub type Sections = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// One unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UnitDefinition {
    /// Its directives.
    #[serde(default)]
    pub sections: Sections,
    /// Where it is defined: `FILE:LINE`, for messages.
    #[serde(default)]
    pub defined_at: Option<String>,
    /// How a switch treats it.
    #[serde(default)]
    pub x: SwitchRules,
}

/// NixOS's options for what a switch does with a changed unit. What is not said is NixOS's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SwitchRules {
    /// Whether a change restarts it (default yes).
    #[serde(default)]
    pub restart_if_changed: Option<bool>,
    /// Whether a change reloads it instead (default no).
    #[serde(default)]
    pub reload_if_changed: Option<bool>,
    /// Whether a restart is a stop before and a start after activation (default yes).
    #[serde(default)]
    pub stop_if_changed: Option<bool>,
    /// A text whose change restarts it.
    #[serde(default)]
    pub restart_triggers: Option<String>,
    /// A text whose change reloads it.
    #[serde(default)]
    pub reload_triggers: Option<String>,
}

/// What the graph is made of: the attributes of the `service-graph` derivation.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GraphInput {
    /// The units of the configuration, by name.
    #[serde(default)]
    pub units: BTreeMap<String, UnitDefinition>,
    /// Packages whose `lib/systemd/system` is read; the configuration's units of the same name add to theirs.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Whether programs below /nix/store must exist now.
    #[serde(default)]
    pub store_paths_checked: bool,
    /// The users that will exist; nothing is checked when empty.
    #[serde(default)]
    pub users: Vec<String>,
    /// The groups that will exist; nothing is checked when empty.
    #[serde(default)]
    pub groups: Vec<String>,
}
