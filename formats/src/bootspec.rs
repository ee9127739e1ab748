//! `boot.json`: what a generation needs in order to boot. NixOS RFC 125 (bootspec), version 1, with its specialisation
//! extension; other extensions (keys that are reverse domain names) are kept as they are.
//!
//! Optional members are absent, never null (RFC 125, "Bootspec document"); null is accepted when reading.

use crate::json_document::{DocumentError, parse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootspec {
    /// The generation itself.
    #[serde(rename = "org.nixos.bootspec.v1")]
    pub boot: BootspecV1,
    /// Its variants, each a document of its own.
    #[serde(rename = "org.nixos.specialisation.v1", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub specialisations: BTreeMap<String, Bootspec>,
    /// Everything else.
    #[serde(flatten)]
    pub extensions: BTreeMap<String, serde_json::Value>,
}

/// `org.nixos.bootspec.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootspecV1 {
    /// What is executed as PID 1: goes on the command line as `init=`.
    pub init: String,
    /// The initrd, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// A program that appends secrets to the initrd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd_secrets: Option<String>,
    /// The kernel image.
    pub kernel: String,
    /// The kernel command line without `init=`.
    #[serde(default)]
    pub kernel_params: Vec<String>,
    /// The name shown in the menu.
    pub label: String,
    /// Architecture and kernel, `x86_64-linux`.
    pub system: String,
    /// The toplevel's store path.
    pub toplevel: String,
}

impl Bootspec {
    /// Reads the document.
    ///
    /// # Errors
    /// When it is no JSON, lacks what RFC 125 demands, or has a top-level key that is no extension's name.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: Self = parse("boot.json", bytes)?;
        document.check_extensions()?;
        Ok(document)
    }

    /// Extensions are named by reverse domain names; anything else is a misspelt key.
    fn check_extensions(&self) -> Result<(), DocumentError> {
        if let Some(key) = self.extensions.keys().find(|key| !key.contains('.')) {
            return Err(DocumentError::Malformed {
                document: "boot.json",
                reason: format!(
                    "the key `{key}` is neither part of bootspec v1 nor an extension (a reverse domain name)"
                ),
            });
        }
        self.specialisations.values().try_for_each(Self::check_extensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"{
      "org.nixos.bootspec.v1": {"init":"/nix/store/a/init","initrd":"/nix/store/b/initrd","kernel":"/nix/store/c/vmlinuz",
        "kernelParams":["quiet"],"label":"Firn 0.1","system":"x86_64-linux","toplevel":"/nix/store/a"},
      "org.nixos.specialisation.v1": {"fire": {"org.nixos.bootspec.v1": {"init":"/nix/store/d/init",
        "kernel":"/nix/store/c/vmlinuz","kernelParams":[],"label":"x","system":"x86_64-linux","toplevel":"/nix/store/d"}}},
      "org.nixos.systemd-boot": {"sortKey":"firn"} }"#;

    #[test]
    fn a_document_with_a_specialisation_and_an_extension_survives_a_round_trip() {
        let document = Bootspec::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(document.specialisations["fire"].boot.initrd, None);
        assert_eq!(document.extensions["org.nixos.systemd-boot"]["sortKey"], "firn");
        let again = serde_json::to_string(&document).unwrap();
        assert!(!again.contains("null"), "absent, never null: {again}");
        assert_eq!(Bootspec::parse(again.as_bytes()).unwrap(), document);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("{}", "org.nixos.bootspec.v1"),
            (&EXAMPLE.replace("kernelParams", "kernelParameters"), "kernelParameters"),
            (&EXAMPLE.replace("org.nixos.systemd-boot", "specialisation"), "specialisation"),
            ("", "EOF"),
        ] {
            let message = Bootspec::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
