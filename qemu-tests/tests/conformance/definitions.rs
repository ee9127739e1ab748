//! The units and what is done with them, from the data files.

use std::collections::BTreeMap;
use std::path::Path;

/// Everything that both machines get.
#[derive(Debug, Default)]
pub(crate) struct Cases {
    /// Unit files by name.
    pub(crate) units: BTreeMap<String, String>,
    /// The units that are only started once, in order.
    pub(crate) probes: Vec<String>,
    /// Scripts by name.
    pub(crate) scripts: BTreeMap<String, String>,
    /// The units of each probe (by its name without `.service`) and each scenario (`case.NAME`).
    pub(crate) owned: BTreeMap<String, Vec<String>>,
}

impl Cases {
    /// Those whose names are asked for.
    pub(crate) fn only(&self, is_wanted: impl Fn(&str) -> bool) -> Self {
        let owned: BTreeMap<String, Vec<String>> = self
            .owned
            .iter()
            .filter(|(name, _)| is_wanted(name))
            .map(|(name, units)| (name.clone(), units.clone()))
            .collect();
        let is_ours = |unit: &str| owned.values().any(|units| units.iter().any(|name| name == unit));
        Self {
            units: self
                .units
                .iter()
                .filter(|(name, _)| is_ours(name))
                .map(|(name, text)| (name.clone(), text.clone()))
                .collect(),
            probes: self.probes.iter().filter(|name| is_ours(name)).cloned().collect(),
            scripts: self
                .scripts
                .iter()
                .filter(|(name, _)| owned.contains_key(&format!("case.{name}")))
                .map(|(name, text)| (name.clone(), text.clone()))
                .collect(),
            owned,
        }
    }

    /// All that makes up one probe or scenario, as a text.
    pub(crate) fn text_of(&self, name: &str) -> String {
        let mut text = name.to_owned();
        for unit in self.owned.get(name).into_iter().flatten() {
            text.extend(["\n", unit, "\n", self.units.get(unit).map_or("", String::as_str)]);
        }
        let script = name.strip_prefix("case.").and_then(|name| self.scripts.get(name));
        text + script.map_or("", String::as_str)
    }
}

/// Whether one of these patterns, separated by blanks, has the probe or scenario.
pub(crate) fn is_named(patterns: &str, name: &str) -> bool {
    let name = name.trim_start_matches("case.");
    patterns.split_whitespace().any(|pattern| crate::report::matches(pattern, name))
}

/// Those of `short.txt`.
pub(crate) fn short(cases: &Cases) -> Cases {
    let patterns = std::fs::read_to_string(crate::data().join("short.txt")).unwrap();
    let patterns: String =
        patterns.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, " "]).collect();
    cases.only(|name| is_named(&patterns, name))
}

/// Reads `probes.txt` and `cases/*.txt`.
pub(crate) fn read(data: &Path) -> Cases {
    let mut cases = Cases::default();
    let probes = std::fs::read_to_string(data.join("probes.txt")).unwrap();
    for line in probes.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        probe(line, &mut cases);
    }
    let mut files: Vec<_> =
        std::fs::read_dir(data.join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        scenario(&name, &text, &mut cases);
    }
    cases
}

/// `name | Directive=value | Unit:Directive=value | !command to try`
fn probe(line: &str, cases: &mut Cases) {
    let mut parts = line.split(" | ").map(str::trim);
    let name = format!("{}.service", parts.next().unwrap());
    let (mut unit, mut service, mut tries) = (String::new(), String::new(), String::new());
    for part in parts {
        if let Some(command) = part.strip_prefix('!') {
            let quoted =
                command.replace('%', "%%").replace('$', "$$").replace('\\', "\\\\").replace('"', "\\\"");
            tries.extend([" \"", &quoted, "\""]);
        } else if let Some(directive) = part.strip_prefix("Unit:") {
            unit.extend([directive, "\n"]);
        } else {
            service.extend([part, "\n"]);
        }
    }
    let has = |service: &str, name: &str| service.lines().any(|line| line.starts_with(name));
    if !has(&service, "ExecStart=") {
        service.extend(["ExecStart=/conformance/probe", &tries, "\n"]);
    }
    if !has(&service, "Type=") {
        service.push_str("Type=oneshot\n");
    }
    if !has(&service, "StandardOutput=") {
        service.push_str("StandardOutput=file:/conformance/out/%n\n");
    }
    let text = format!("[Unit]\nDefaultDependencies=no\n{unit}[Service]\n{service}");
    assert!(cases.units.insert(name.clone(), text).is_none(), "{name} is there twice");
    cases.owned.insert(name.trim_end_matches(".service").to_owned(), vec![name.clone()]);
    cases.probes.push(name);
}

/// Blocks that begin with `=== name`: unit files, and `=== steps`, a script. A service without `ExecStart=` marks its start
/// and stays; `@name` in a command marks that name.
fn scenario(case: &str, text: &str, cases: &mut Cases) {
    for block in text.split("\n=== ").skip(1) {
        let (name, body) = block.split_once('\n').unwrap_or((block, ""));
        if name == "steps" {
            cases.scripts.insert(case.to_owned(), body.to_owned());
            continue;
        }
        let name = if name.contains('.') { name.to_owned() } else { format!("{name}.service") };
        let mut body = if body.starts_with('[') || !name.ends_with(".service") {
            body.to_owned()
        } else {
            format!("[Service]\n{body}")
        };
        if !body.contains("[Unit]") {
            body.insert_str(0, "[Unit]\n");
        }
        if !body.contains("DefaultDependencies=") {
            body = body.replacen("[Unit]\n", "[Unit]\nDefaultDependencies=no\n", 1);
        }
        if name.ends_with(".service") && !body.contains("[Service]") {
            body.push_str("\n[Service]\n");
        }
        if name.ends_with(".service") && !body.lines().any(|line| line.starts_with("ExecStart=")) {
            body = body.replacen("[Service]\n", "[Service]\nExecStart=@stay @%p\n", 1);
        }
        let text: Vec<String> = body.lines().map(|line| command(line, case)).collect();
        cases.owned.entry(format!("case.{case}")).or_default().push(name.clone());
        assert!(cases.units.insert(name.clone(), text.join("\n") + "\n").is_none(), "{name} is there twice");
    }
    assert!(cases.scripts.contains_key(case), "{case} has no steps");
}

/// `ExecX=@name` marks that name, `ExecX=@stay @name` marks it and stays.
fn command(line: &str, case: &str) -> String {
    let Some((directive, value)) = line.split_once('=').filter(|(name, _)| name.starts_with("Exec")) else {
        return line.to_owned();
    };
    let marks = format!("/conformance/marks/{case}");
    let value = match (value.strip_prefix("@stay @"), value.strip_prefix('@')) {
        (Some(name), _) => format!("/conformance/stay {marks} {name}"),
        (_, Some(name)) => format!("/conformance/mark {marks} {name}"),
        _ => value.replace("MARKS", &marks),
    };
    format!("{directive}={value}")
}
