//! NixOS's installation tools by their names: `nixos-install`, `nixos-generate-config`, `nixos-enter` with their options, as the
//! command lines of `firn` that mean the same. What has no such meaning is refused by name.

use crate::family::{self, Failure};
use anyhow::Result;
use std::ffi::OsString;
use std::process::ExitCode;

/// What becomes of an option.
#[derive(Debug, Clone, Copy)]
enum Becomes {
    /// Another option, with as many values as it says.
    Option(&'static str, usize),
    /// Nothing: what it asks for is so anyway. It takes as many values.
    Nothing(usize),
    /// A refusal.
    Refused(&'static str),
    /// Everything from here on is a command and its arguments.
    Rest,
}

const FLAKES: &str = "Firn does not install flakes yet; name a configuration";

/// nixos-install(8).
const INSTALL: &[(&str, Becomes)] = &[
    ("--root", Becomes::Option("--root", 1)),
    ("--system", Becomes::Option("--system", 1)),
    ("--closure", Becomes::Option("--system", 1)),
    ("--store-path", Becomes::Option("--system", 1)),
    ("--file", Becomes::Option("--file", 1)),
    ("-f", Becomes::Option("--file", 1)),
    ("--attr", Becomes::Option("--attr", 1)),
    ("-A", Becomes::Option("--attr", 1)),
    ("--flake", Becomes::Refused(FLAKES)),
    ("--channel", Becomes::Refused("a system has its channel where `firn.channel.enable` says so")),
    ("--no-channel-copy", Becomes::Nothing(0)),
    ("--no-root-password", Becomes::Option("--no-root-password", 0)),
    ("--no-root-passwd", Becomes::Option("--no-root-password", 0)),
    ("--no-bootloader", Becomes::Option("--no-bootloader", 0)),
    ("--max-jobs", Becomes::Option("--max-jobs", 1)),
    ("-j", Becomes::Option("--max-jobs", 1)),
    ("--cores", Becomes::Option("--cores", 1)),
    ("--option", Becomes::Option("--option", 2)),
    ("--keep-going", Becomes::Option("--keep-going", 0)),
    ("-k", Becomes::Option("--keep-going", 0)),
    ("--print-build-logs", Becomes::Option("--print-build-logs", 0)),
    ("-L", Becomes::Option("--print-build-logs", 0)),
    ("--log-format", Becomes::Option("--log-format", 1)),
    ("--impure", Becomes::Nothing(0)),
    ("--show-trace", Becomes::Nothing(0)),
    ("--verbose", Becomes::Nothing(0)),
    ("-v", Becomes::Nothing(0)),
    ("--help", Becomes::Option("--help", 0)),
];

/// nixos-generate-config(8).
const GENERATE_CONFIG: &[(&str, Becomes)] = &[
    ("--root", Becomes::Option("--root", 1)),
    ("--dir", Becomes::Option("--dir", 1)),
    ("--force", Becomes::Option("--force", 0)),
    ("--no-filesystems", Becomes::Option("--no-filesystems", 0)),
    ("--show-hardware-config", Becomes::Option("--show-hardware-config", 0)),
    ("--flake", Becomes::Refused("Firn does not evaluate flakes yet, so it writes none")),
    ("--kernel", Becomes::Refused("the kernel is said in configuration.nix: boot.kernelPackages")),
    ("--help", Becomes::Option("--help", 0)),
];

/// nixos-enter(8).
const ENTER: &[(&str, Becomes)] = &[
    ("--root", Becomes::Option("--root", 1)),
    ("--system", Becomes::Option("--system", 1)),
    ("--command", Becomes::Option("--command", 1)),
    ("-c", Becomes::Option("--command", 1)),
    ("--silent", Becomes::Option("--silent", 0)),
    ("--help", Becomes::Option("--help", 0)),
    ("--", Becomes::Rest),
];

/// `nixos-install`.
pub(super) fn install(arguments: &[OsString]) -> Result<ExitCode> {
    run("nixos-install", "install", INSTALL, arguments)
}

/// `nixos-generate-config`.
pub(super) fn generate_config(arguments: &[OsString]) -> Result<ExitCode> {
    run("nixos-generate-config", "generate-config", GENERATE_CONFIG, arguments)
}

/// `nixos-enter`.
pub(super) fn enter(arguments: &[OsString]) -> Result<ExitCode> {
    run("nixos-enter", "enter", ENTER, arguments)
}

fn run(program: &str, command: &str, table: &[(&str, Becomes)], arguments: &[OsString]) -> Result<ExitCode> {
    let translated = translate(program, table, arguments)?;
    family::run(["firn", command].into_iter().map(OsString::from).chain(translated))
}

/// The words for `firn`.
fn translate(
    program: &str,
    table: &[(&str, Becomes)],
    arguments: &[OsString],
) -> Result<Vec<OsString>, Failure> {
    let wrong = |text: String| Failure { code: 1, message: format!("{program}: {text}") };
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy();
        // NixOS's tools know `--name value` alone; `--name=value` hurts nobody.
        let (name, joined) = match text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (text.as_ref(), None),
        };
        let becomes = table.iter().find(|(option, _)| *option == name).map(|(_, becomes)| *becomes);
        let becomes =
            becomes.ok_or_else(|| wrong(format!("`{text}` is not understood; --help lists what is")))?;
        let (option, count) = match becomes {
            Becomes::Option(option, count) => (Some(option), count),
            Becomes::Nothing(count) => (None, count),
            Becomes::Refused(reason) => return Err(wrong(format!("{name}: {reason}"))),
            Becomes::Rest => {
                words.push(word.clone());
                words.extend(rest.cloned());
                return Ok(words);
            }
        };
        if joined.is_some() && count == 0 {
            return Err(wrong(format!("{name} has no value")));
        }
        let mut values: Vec<OsString> = joined.into_iter().collect();
        while values.len() < count {
            values.push(rest.next().cloned().ok_or_else(|| wrong(format!("{name} needs {count} value(s)")))?);
        }
        if let Some(option) = option {
            words.push(OsString::from(option));
            words.extend(values);
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(table: &[(&str, Becomes)], line: &str) -> String {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        match translate("nixos-x", table, &arguments) {
            Ok(words) => words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "),
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn lines_as_manuals_have_them() {
        for (table, line, expected) in [
            (INSTALL, "--root /mnt --no-root-passwd -j 4", "--root /mnt --no-root-password --max-jobs 4"),
            (INSTALL, "--closure /nix/store/x --no-channel-copy", "--system /nix/store/x"),
            (
                INSTALL,
                "-f x.nix -A a --option sandbox false -v",
                "--file x.nix --attr a --option sandbox false",
            ),
            (INSTALL, "--root=/mnt2 --show-trace", "--root /mnt2"),
            (
                INSTALL,
                "--flake .#x",
                "nixos-x: --flake: Firn does not install flakes yet; name a configuration",
            ),
            (INSTALL, "--root", "nixos-x: --root needs 1 value(s)"),
            (INSTALL, "--bogus", "nixos-x: `--bogus` is not understood; --help lists what is"),
            (GENERATE_CONFIG, "--root /mnt --force", "--root /mnt --force"),
            (ENTER, "--root /mnt -c id", "--root /mnt --command id"),
            (ENTER, "-- ls --root /x", "-- ls --root /x"),
        ] {
            assert_eq!(translated(table, line), expected, "{line}");
        }
    }

    #[test]
    fn what_they_become_is_understood() {
        let commands = [
            (INSTALL, crate::install::command()),
            (GENERATE_CONFIG, crate::generate_config::command()),
            (ENTER, crate::enter::command()),
        ];
        for (table, command) in commands {
            let command = command.args(crate::settings::global_arguments());
            for (name, becomes) in table {
                let Becomes::Option(option, values) = becomes else { continue };
                let option = option.trim_start_matches('-');
                let found = command.get_arguments().find(|argument| {
                    argument.get_long() == Some(option)
                        || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&option))
                });
                assert!(found.is_some() || option == "help", "{name}: firn has no --{option}");
                if let Some(found) = found {
                    let takes = found.get_action().takes_values();
                    assert_eq!(takes, *values > 0, "{name}");
                }
            }
        }
    }
}
