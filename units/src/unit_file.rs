//! Unit files that packages ship, read into the shape of [`crate::definition`]: systemd.syntax(7), with drop-in directories
//! (`NAME.d/*.conf`), links as aliases and `*.wants/`, `*.requires/` directories.

use crate::definition::{Sections, UnitDefinition};
use std::collections::BTreeMap;
use std::path::Path;

/// Reads the text of one unit file into sections; the error says line and cause.
pub fn parse(text: &str) -> Result<Sections, String> {
    let mut sections = Sections::new();
    let mut section: Option<String> = None;
    let mut pending = String::new();
    for (number, line) in text.lines().enumerate() {
        if pending.is_empty() && (line.trim().is_empty() || line.trim_start().starts_with(['#', ';'])) {
            continue;
        }
        // Comments between continued lines are skipped, as systemd does.
        if !pending.is_empty() && line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        if let Some(continued) = line.strip_suffix('\\') {
            pending.push_str(continued);
            pending.push(' ');
            continue;
        }
        let whole = std::mem::take(&mut pending) + line;
        let whole = whole.trim();
        if let Some(name) = whole.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.entry(name.to_owned()).or_default();
            section = Some(name.to_owned());
        } else if let (Some((directive, value)), Some(section)) = (whole.split_once('='), &section) {
            let values =
                sections.entry(section.clone()).or_default().entry(directive.trim().to_owned()).or_default();
            values.push(value.trim().to_owned());
        } else {
            return Err(format!("line {}: neither a section nor `Directive=value`", number + 1));
        }
    }
    Ok(sections)
}

/// Adds the directives of an overriding definition: values are appended, in the manner of a drop-in.
pub fn merge(base: &mut Sections, over: &Sections) {
    for (section, directives) in over {
        let into = base.entry(section.clone()).or_default();
        for (directive, values) in directives {
            into.entry(directive.clone()).or_default().extend(values.iter().cloned());
        }
    }
}

/// Reads every unit in a package's `lib/systemd/system`.
pub fn read_package(package: &Path) -> Result<BTreeMap<String, UnitDefinition>, String> {
    let directory = package.join("lib/systemd/system");
    let mut units = BTreeMap::new();
    if !directory.is_dir() {
        return Ok(units);
    }
    let list = |directory: &Path| -> Result<Vec<std::path::PathBuf>, String> {
        let failed = |error: std::io::Error| format!("cannot read {}: {error}", directory.display());
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            paths.push(entry.map_err(failed)?.path());
        }
        paths.sort();
        Ok(paths)
    };
    let name_of =
        |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let read = |path: &Path| -> Result<Sections, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let paths = list(&directory)?;
    let mut aliases = Vec::new();
    for path in &paths {
        let name = name_of(path);
        let meta =
            path.symlink_metadata().map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if meta.is_symlink() {
            let target = std::fs::read_link(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            aliases.push((name, name_of(&target)));
        } else if meta.is_file() {
            let sections = read(path)?;
            let defined_at = Some(path.display().to_string());
            units.insert(name, UnitDefinition { sections, defined_at, ..UnitDefinition::default() });
        }
    }
    for (alias, target) in aliases {
        if let Some(unit) = units.get_mut(&target).filter(|_| alias != target) {
            unit.sections.entry("Install".into()).or_default().entry("Alias".into()).or_default().push(alias);
        }
    }
    for path in paths.iter().filter(|path| path.is_dir()) {
        let name = name_of(path);
        if let Some(unit) = name.strip_suffix(".d").and_then(|unit| units.get_mut(unit)) {
            for file in
                list(path)?.iter().filter(|file| file.extension().is_some_and(|ending| ending == "conf"))
            {
                merge(&mut unit.sections, &read(file)?);
            }
        }
        for (suffix, directive) in [(".wants", "WantedBy"), (".requires", "RequiredBy")] {
            let Some(target) = name.strip_suffix(suffix) else { continue };
            for link in list(path)? {
                if let Some(unit) = units.get_mut(&name_of(&link)) {
                    let install = unit.sections.entry("Install".into()).or_default();
                    install.entry(directive.into()).or_default().push(target.to_owned());
                }
            }
        }
    }
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_file_with_all_that_it_may_have() {
        let sections = parse("# c\n[Unit]\nDescription = A thing\nAfter=a b\nAfter=c\n\n[Service]\nExecStart=/bin/x \\\n# no\n  --flag=1\nExecStart=\n").unwrap();
        assert_eq!(sections["Unit"]["After"], ["a b", "c"]);
        assert_eq!(sections["Unit"]["Description"], ["A thing"]);
        assert_eq!(sections["Service"]["ExecStart"].len(), 2);
        assert!(sections["Service"]["ExecStart"][0].ends_with("--flag=1"));
        assert!(parse("Description=x").unwrap_err().contains("line 1"));
    }

    #[test]
    fn a_package_with_aliases_drop_ins_and_wants() {
        let root = tempfile::tempdir().unwrap();
        let units = root.path().join("lib/systemd/system");
        std::fs::create_dir_all(units.join("a.service.d")).unwrap();
        std::fs::create_dir_all(units.join("sockets.target.wants")).unwrap();
        std::fs::write(units.join("a.service"), "[Service]\nExecStart=/bin/a\n").unwrap();
        std::fs::write(units.join("a.service.d/b.conf"), "[Service]\nNice=3\n").unwrap();
        std::os::unix::fs::symlink("a.service", units.join("b.service")).unwrap();
        std::os::unix::fs::symlink("../a.service", units.join("sockets.target.wants/a.service")).unwrap();
        let found = read_package(root.path()).unwrap();
        assert_eq!(found.len(), 1);
        let unit = &found["a.service"];
        assert_eq!(unit.sections["Service"]["Nice"], ["3"]);
        assert_eq!(unit.sections["Install"]["Alias"], ["b.service"]);
        assert_eq!(unit.sections["Install"]["WantedBy"], ["sockets.target"]);
    }
}
