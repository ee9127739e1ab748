//! `nix-env --query`: tables, JSON and XML of what is installed or available. nix-env(1), "Operation --query".

use super::package::Package;
use super::selection::{chosen, order, split};
use super::{Call, Session};
use anyhow::{Result, bail};
use formats::store_path::StorePath;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;

/// The flags of a query.
const FLAGS: [&[&str]; 15] = [
    &["--installed"],
    &["--available", "-a"],
    &["--compare-versions", "-c"],
    &["--status", "-s"],
    &["--no-name"],
    &["--attr-path", "-P"],
    &["--system"],
    &["--drv-path"],
    &["--out-path"],
    &["--description"],
    &["--meta"],
    &["--xml"],
    &["--json"],
    &["--prebuilt-only", "-b"],
    &["--no-pname"],
];

/// Whether this is one of them; its long name.
pub(super) fn flag(text: &str) -> Option<&'static str> {
    FLAGS.iter().find(|names| names.contains(&text)).and_then(|names| names.first()).copied()
}

/// How one package stands to those of the same name on the other side.
fn comparison(package: &Package<'_>, others: &[Package<'_>]) -> String {
    let (name, version) = split(&package.name);
    let mut verdict: Option<Ordering> = None;
    let mut newest = String::new();
    for other in others {
        let (other_name, other_version) = split(&other.name);
        if other_name != name {
            continue;
        }
        let found = order(&version, &other_version);
        // An older version here is what counts most, then an equal one.
        let weight = |ordering: Option<Ordering>| match ordering {
            None => 0,
            Some(Ordering::Greater) => 1,
            Some(Ordering::Equal) => 2,
            Some(Ordering::Less) => 3,
        };
        if weight(Some(found)) > weight(verdict) {
            verdict = Some(found);
        }
        if newest.is_empty() || order(&newest, &other_version) == Ordering::Less {
            newest = other_version;
        }
    }
    match verdict {
        None => "- ?".to_owned(),
        Some(Ordering::Less) => format!("< {newest}"),
        Some(Ordering::Equal) => format!("= {newest}"),
        Some(Ordering::Greater) => format!("> {newest}"),
    }
}

/// Answers.
pub(super) fn query(session: &mut Session<'_, '_>, call: &Call) -> Result<()> {
    let has = |flag: &str| call.flags.contains(flag);
    if let Some(unknown) = call.words.iter().find(|word| word.starts_with('-')) {
        bail!("unknown flag '{unknown}'");
    }
    let available = has("--available");
    let compares = has("--compare-versions");
    let (mut own, mut others) = (Vec::new(), Vec::new());
    let system = session.system.clone();
    if available {
        own = session.ask().available(Some(&system))?;
    }
    if !available || compares || has("--status") {
        let profile = session.profile.clone();
        others = session.ask().installed(&profile)?;
    }
    if !available {
        std::mem::swap(&mut own, &mut others);
        if compares {
            others = session.ask().available(Some(&system))?;
        }
    }
    let mut packages = chosen(&mut session.ask(), &own, &call.words, false, &system)?;
    if !has("--json") && !has("--xml") {
        packages.sort_by_key(|package| package.name.to_lowercase());
    }
    let mut here = BTreeSet::new();
    if has("--status") {
        let installed = if available { &others } else { &own };
        for package in installed {
            here.extend(package.out_path(&mut session.ask())?);
        }
    }
    let (mut rows, mut items, mut objects) = (Vec::new(), Vec::new(), Map::new());
    for package in &packages {
        let row = Row::of(session, call, package, &here, compares.then_some(&others))?;
        let Some(row) = row else { continue };
        if has("--json") {
            objects.insert(package.attribute.clone(), row.json);
        } else if has("--xml") {
            items.push(row.xml);
        } else {
            rows.push(row.columns);
        }
    }
    session.io.flush()?;
    let mut out = std::io::stdout().lock();
    if has("--json") {
        writeln!(out, "{:#}", Value::Object(objects))?;
    } else if has("--xml") {
        writeln!(out, "<?xml version='1.0' encoding='utf-8'?>\n<items>\n{}</items>", items.concat())?;
    } else {
        out.write_all(table(&rows).as_bytes())?;
    }
    Ok(())
}

/// One package in each of the forms.
struct Row {
    columns: Vec<String>,
    json: Value,
    xml: String,
}

/// Where a package is, as far as the flags ask.
struct Presence {
    out_path: Option<String>,
    is_valid: bool,
    substitutable: bool,
}

impl Presence {
    fn of<'a>(session: &mut Session<'_, 'a>, call: &Call, package: &Package<'a>) -> Result<Self> {
        let asked = |flags: &[&str]| flags.iter().any(|flag| call.flags.contains(*flag));
        let out_path = if asked(&["--out-path", "--status", "--prebuilt-only"]) {
            package.out_path(&mut session.ask())?
        } else {
            None
        };
        let path = out_path.as_ref().and_then(|path| session.store.dir().parse(path).ok());
        let is_valid = path.as_ref().map_or(Ok(false), |path| session.store.is_valid(path))?;
        let substitutable = asked(&["--status", "--prebuilt-only"])
            && !is_valid
            && path.is_some_and(|path| session.can_substitute(&path));
        Ok(Self { out_path, is_valid, substitutable })
    }
}

impl Row {
    fn of<'a>(
        session: &mut Session<'_, 'a>,
        call: &Call,
        package: &Package<'a>,
        here: &BTreeSet<String>,
        others: Option<&Vec<Package<'a>>>,
    ) -> Result<Option<Self>> {
        let has = |flag: &str| call.flags.contains(flag);
        let (mut columns, mut attributes) = (Vec::new(), BTreeMap::new());
        let paths_wanted = has("--out-path");
        let Presence { out_path, is_valid, substitutable } = Presence::of(session, call, package)?;
        if has("--prebuilt-only") && !is_valid && !substitutable {
            return Ok(None);
        }
        if has("--status") {
            let mark = |set: bool, letter: char| if set { letter } else { '-' };
            let installed = out_path.as_ref().is_some_and(|path| here.contains(path));
            let status = [mark(installed, 'I'), mark(is_valid, 'P'), mark(substitutable, 'S')]
                .iter()
                .collect::<String>();
            attributes.insert("installed", installed.to_string());
            attributes.insert("valid", is_valid.to_string());
            columns.push(status);
        }
        if has("--attr-path") {
            columns.push(package.attribute.clone());
        }
        attributes.insert("attrPath", package.attribute.clone());
        let (pname, version) = split(&package.name);
        if !has("--no-name") {
            columns.push(package.name.clone());
        }
        attributes.insert("name", package.name.clone());
        attributes.insert("pname", pname.clone());
        attributes.insert("version", version.clone());
        if let Some(others) = others {
            columns.push(comparison(package, others));
        }
        let system = package.system(&mut session.ask())?;
        if has("--system") {
            columns.push(system.clone());
        }
        attributes.insert("system", system.clone());
        if has("--drv-path") {
            let derivation = package.derivation(&mut session.ask())?;
            columns.push(derivation.clone().unwrap_or_else(|| "-".to_owned()));
            attributes.extend(derivation.map(|path| ("drvPath", path)));
        }
        let output_name = package.output_name(&mut session.ask())?;
        attributes.insert("outputName", output_name.clone());
        let mut outputs = Map::new();
        for output in package.outputs(&mut session.ask(), false)? {
            let path = if paths_wanted { package.output_path(&mut session.ask(), &output)? } else { None };
            outputs.insert(output, path.map_or(Value::Null, Value::String));
        }
        if paths_wanted {
            let texts = outputs.iter().map(|(output, path)| {
                let path = path.as_str().unwrap_or_default();
                if output == "out" { path.to_owned() } else { format!("{output}={path}") }
            });
            columns.push(texts.collect::<Vec<_>>().join(";"));
        }
        let meta = if has("--meta") || has("--description") || has("--json") {
            package.meta(&mut session.ask())?
        } else {
            BTreeMap::new()
        };
        if has("--description") {
            let text = meta.get("description").and_then(|value| value.text.clone()).unwrap_or_default();
            columns.push(text.clone());
            attributes.insert("description", text);
        }
        let shown = if has("--meta") { meta } else { BTreeMap::new() };
        let xml = item_element(&attributes, &outputs, &shown)?;
        let mut json = json!({
            "name": package.name,
            "pname": pname,
            "version": version,
            "system": system,
            "outputName": output_name,
            "outputs": outputs,
        });
        if has("--meta") {
            json["meta"] = shown.iter().map(|(name, value)| (name.clone(), value.json.clone())).collect();
        }
        Ok(Some(Self { columns, json, xml }))
    }
}

/// What a package is in the XML.
fn item_element(
    attributes: &BTreeMap<&str, String>,
    outputs: &Map<String, Value>,
    meta: &BTreeMap<String, super::package::Meta>,
) -> Result<String> {
    let mut xml = "  <item".to_owned();
    for (name, value) in attributes {
        write!(xml, " {name}=\"{}\"", escaped(value))?;
    }
    xml.push_str(">\n");
    for (output, path) in outputs {
        if let Some(path) = path.as_str() {
            writeln!(xml, "    <output name=\"{}\" path=\"{}\" />", escaped(output), escaped(path))?;
        }
    }
    for (name, value) in meta {
        xml.push_str(&meta_element(name, value));
    }
    xml.push_str("  </item>\n");
    Ok(xml)
}

/// A `meta` attribute in the XML.
fn meta_element(name: &str, value: &super::package::Meta) -> String {
    let name = escaped(name);
    let one = |kind: &str, value: &str| {
        format!("    <meta name=\"{name}\" type=\"{kind}\" value=\"{}\" />\n", escaped(value))
    };
    match &value.json {
        Value::String(text) => one("string", text),
        Value::Bool(truth) => one("bool", &truth.to_string()),
        Value::Number(number) if number.is_i64() => one("int", &number.to_string()),
        Value::Number(number) => one("float", &number.to_string()),
        Value::Array(items) => {
            let lines = items.iter().filter_map(Value::as_str);
            let lines = lines.map(|text| format!("      <string value=\"{}\" />\n", escaped(text)));
            let lines = lines.collect::<Vec<_>>().concat();
            format!("    <meta name=\"{name}\" type=\"strings\">\n{lines}    </meta>\n")
        }
        Value::Object(members) => {
            let lines = members.iter().filter_map(|(inner, value)| Some((inner, value.as_str()?)));
            let lines = lines.map(|(inner, text)| {
                format!("      <string type=\"{}\" value=\"{}\" />\n", escaped(inner), escaped(text))
            });
            let lines = lines.collect::<Vec<_>>().concat();
            format!("    <meta name=\"{name}\" type=\"strings\">\n{lines}    </meta>\n")
        }
        Value::Null => String::new(),
    }
}

/// A text inside an XML attribute.
fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => result.push_str("&quot;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '&' => result.push_str("&amp;"),
            '\n' => result.push_str("&#xA;"),
            other => result.push(other),
        }
    }
    result
}

/// Columns two blanks apart; the last is not filled up.
fn table(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(index) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            text.push_str(&cell.replace('\n', " "));
            if index + 1 < row.len() {
                let width = widths.get(index).copied().unwrap_or_default();
                text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
            }
        }
        text.push('\n');
    }
    text
}

impl Session<'_, '_> {
    /// Whether a cache has a path.
    fn can_substitute(&self, path: &StorePath) -> bool {
        let Ok(options) = self.front.conf.store_options() else { return false };
        options.substituters.query_many(&self.store, &[path.clone()].into()).contains(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        assert_eq!(table(&[row(&["IP-", "foo-1.0"]), row(&["---", "a"])]), "IP-  foo-1.0\n---  a\n");
        assert_eq!(table(&[row(&["a", "x"]), row(&["long", "y"])]), "a     x\nlong  y\n");
    }
}
