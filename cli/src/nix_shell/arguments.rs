//! The command line of `nix-shell`, and the file that its shell reads at the start.

use crate::eval::Request;
use crate::nix_front::{Arguments, Front, print_version};
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::path::Path;

/// Variables that a pure shell keeps. nix-shell(1), `--pure`.
const KEPT: [&str; 20] = [
    "DISPLAY",
    "HOME",
    "IN_NIX_SHELL",
    "LOGNAME",
    "NIX_BUILD_SHELL",
    "NIX_SHELL_PRESERVE_PROMPT",
    "PAGER",
    "SHLVL",
    "TERM",
    "TZ",
    "USER",
    "WAYLAND_DISPLAY",
    "WAYLAND_SOCKET",
    "XDG_RUNTIME_DIR",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "NIX_SSL_CERT_FILE",
];

/// What the command line says.
pub(super) struct Wish {
    pub(super) front: Front,
    pub(super) request: Request,
    /// Whether the words are packages of `<nixpkgs>`.
    pub(super) packages: bool,
    pub(super) pure: bool,
    pub(super) exclude: Vec<String>,
    keep: Vec<String>,
    /// What to run, and whether the shell goes on afterwards.
    command: Option<(String, bool)>,
}

/// Reads it; none if there is nothing more to do.
pub(super) fn read(words: &[OsString]) -> Result<Option<Wish>> {
    let (words, script) = with_script(words)?;
    let mut arguments = Arguments::new(&words);
    let mut wish = Wish {
        front: Front::new(),
        request: Request::default(),
        packages: false,
        pure: false,
        exclude: Vec::new(),
        keep: Vec::new(),
        command: None,
    };
    let mut names = Vec::new();
    let mut interpreter = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                print_version("nix-shell")?;
                return Ok(None);
            }
            "-p" | "--packages" => wish.packages = true,
            "--pure" => wish.pure = true,
            "--impure" => wish.pure = false,
            "--keep" => wish.keep.push(arguments.value(&argument)?),
            "--exclude" => wish.exclude.push(arguments.value(&argument)?),
            "--run" => wish.command = Some((arguments.value(&argument)?, false)),
            "--command" => wish.command = Some((arguments.value(&argument)?, true)),
            "-i" if script.is_some() => interpreter = Some(arguments.value(&argument)?),
            "--add-root" => drop(arguments.value(&argument)?),
            "--indirect" => {}
            _ if wish.front.take(&argument, &mut arguments)?
                || wish.request.take(&argument, &mut arguments)? => {}
            flag if flag.starts_with('-') && flag != "-" => bail!("unrecognised flag '{flag}'"),
            _ => names.push(argument),
        }
    }
    wish.request.take_settings(&wish.front);
    if wish.packages {
        let names: Vec<String> = names.iter().map(|name| format!("({name})")).collect();
        let text = format!(
            "{{ ... }}@args: with import <nixpkgs> args; (pkgs.runCommandCC or pkgs.runCommand) \"shell\" \
             {{ buildInputs = [ {} ]; }} \"\"",
            names.join(" ")
        );
        (wish.request.sources, wish.request.expressions) = (vec![text.into()], true);
    } else {
        wish.request.sources.extend(names.into_iter().map(OsString::from));
    }
    if let Some(script) = script {
        wish.command = Some((script.command(interpreter.as_deref()), false));
    }
    Ok(Some(wish))
}

/// A script whose interpreter we are.
struct Script {
    file: String,
    arguments: Vec<String>,
}

impl Script {
    /// What the shell runs: the interpreter on the script.
    fn command(&self, interpreter: Option<&str>) -> String {
        let interpreter = interpreter.unwrap_or("bash");
        let name = Path::new(interpreter).file_name().unwrap_or_default();
        let mut words = vec![quoted(interpreter)];
        // These look at the first line themselves, and would start us again.
        match name.to_str() {
            Some("ruby") => words.extend(["-e".to_owned(), quoted("load(ARGV.shift)"), "--".to_owned()]),
            Some("perl") => words.extend(["-e".to_owned(), quoted("do(shift)"), "--".to_owned()]),
            _ => {}
        }
        words.push(quoted(&self.file));
        words.extend(self.arguments.iter().map(|argument| quoted(argument)));
        format!("exec {}", words.join(" "))
    }
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// If the first word is a script that begins `#!` and has lines `#! nix-shell …`, the words of those lines in its place.
fn with_script(words: &[OsString]) -> Result<(Vec<OsString>, Option<Script>)> {
    let Some(first) = words.first().filter(|first| !first.to_string_lossy().starts_with('-')) else {
        return Ok((words.to_vec(), None));
    };
    let Ok(contents) = std::fs::read(first) else { return Ok((words.to_vec(), None)) };
    if !contents.starts_with(b"#!") {
        return Ok((words.to_vec(), None));
    }
    let text = String::from_utf8_lossy(&contents);
    let (mut found, mut given) = (false, Vec::new());
    for line in text.lines().skip(1) {
        let Some(rest) = line.strip_prefix("#!").map(str::trim_start) else { continue };
        let Some(rest) = rest.strip_prefix("nix-shell").filter(|rest| rest.starts_with(char::is_whitespace))
        else {
            continue;
        };
        found = true;
        given.extend(split_words(rest)?.into_iter().map(OsString::from));
    }
    if !found {
        return Ok((words.to_vec(), None));
    }
    let arguments = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    Ok((given, Some(Script { file: first.to_string_lossy().into_owned(), arguments })))
}

/// Words as a shell splits them: quotes and backslashes, nothing else.
fn split_words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some('"') | None, '\\') => {
                let next = characters.next();
                word.get_or_insert_default().extend(next);
            }
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        bail!("a quote is not closed in `#! nix-shell{line}`");
    }
    words.extend(word);
    Ok(words)
}

impl Wish {
    /// Whether the shell talks to somebody.
    pub(super) fn is_interactive(&self) -> bool {
        self.command.as_ref().is_none_or(|(_, goes_on)| *goes_on)
    }

    /// Whether a pure shell has this variable all the same.
    pub(super) fn keeps(&self, name: &str) -> bool {
        KEPT.contains(&name) || self.keep.iter().any(|kept| kept == name)
    }

    /// What the shell reads first.
    pub(super) fn start_file(&self, directory: &Path, shell: &Path, attributes: Option<&Path>) -> String {
        let directory = quoted(&directory.to_string_lossy());
        let shell_word = quoted(&shell.to_string_lossy());
        let mut text = format!("_firn_clean() {{ rm -rf {directory}; }}\ntrap _firn_clean EXIT\n");
        if self.pure {
            text.push_str("unset PATH\n");
        } else {
            text.push_str("[ -n \"$PS1\" ] && [ -e ~/.bashrc ] && source ~/.bashrc\np=$PATH\n");
        }
        text.push_str("dontAddDisableDepTrack=1\n");
        if let Some(attributes) = attributes {
            text.extend(["source ", &quoted(&attributes.to_string_lossy()), "\n"]);
        }
        text.push_str("[ -e \"$stdenv/setup\" ] && source \"$stdenv/setup\"\n");
        if !self.pure {
            text.push_str("PATH=$PATH:$p; unset p\n");
        }
        if let Some(parent) = shell.parent().filter(|_| shell.is_absolute()) {
            text.extend(["PATH=", &quoted(&parent.to_string_lossy()), ":$PATH\n"]);
        }
        text.extend(["SHELL=", &shell_word, "\nBASH=", &shell_word, "\nset +e\n"]);
        text.push_str(
            "[ -n \"$PS1\" ] && [ -z \"$NIX_SHELL_PRESERVE_PROMPT\" ] && \
             PS1='\\n\\[\\033[1;32m\\][nix-shell:\\w]\\$\\[\\033[0m\\] '\n\
             if [ \"$(type -t runHook)\" = function ]; then runHook shellHook; fi\n\
             unset NIX_ENFORCE_PURITY\nshopt -u nullglob\n",
        );
        match std::env::var("TZ") {
            Ok(zone) => text.extend(["export TZ=", &quoted(&zone), "\n"]),
            Err(_) => text.push_str("unset TZ\n"),
        }
        text.push_str("shopt -s execfail\n");
        if let Some((command, goes_on)) = &self.command {
            text.push_str(command);
            text.push_str(if *goes_on { "\n" } else { "\nexit\n" });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_first_line() {
        assert_eq!(
            split_words(" --pure -i bash  -p 'a b' \"c \\\" d\" e\\ f").unwrap(),
            ["--pure", "-i", "bash", "-p", "a b", "c \" d", "e f"]
        );
        assert!(split_words(" 'open").is_err());
    }

    #[test]
    fn a_script_names_its_own_arguments() {
        let work = tempfile::tempdir().unwrap();
        let file = work.path().join("it's a script");
        std::fs::write(&file, "#! /usr/bin/env nix-shell\n#! nix-shell -p foo\n#! nix-shell -i ruby\n")
            .unwrap();
        let (words, script) = with_script(&[file.clone().into(), "abc".into()]).unwrap();
        assert_eq!(words, ["-p", "foo", "-i", "ruby"]);
        let command = script.unwrap().command(Some("ruby"));
        let file = file.to_str().unwrap().replace('\'', "'\\''");
        assert_eq!(command, format!("exec 'ruby' -e 'load(ARGV.shift)' -- '{file}' 'abc'"));
        std::fs::write(work.path().join("shell.nix"), "{}").unwrap();
        assert!(with_script(&[work.path().join("shell.nix").into()]).unwrap().1.is_none());
    }
}
