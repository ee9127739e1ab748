//! `nix path-info`: what is known of paths in a store or a cache. nix3-path-info(1); the JSON is that of Nix 2.26.

use super::info::{outputs, parse};
use crate::nix_front::{Arguments, Front, layout};
use anyhow::{Result, bail};
use formats::narinfo::NarInfo;
use formats::path_info::PathInfo;
use formats::store_path::{StoreDir, StorePath};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::ExitCode;
use std::rc::Rc;
use store::cache::Cache;

const FLAGS: [&str; 11] = [
    "--json",
    "-r",
    "--recursive",
    "-s",
    "--size",
    "-S",
    "--closure-size",
    "--sigs",
    "--all",
    "-h",
    "--human-readable",
];

/// What to show.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Wish {
    size: bool,
    closure_size: bool,
    signatures: bool,
    human: bool,
}

/// What is shown of a path.
struct Row {
    info: PathInfo,
    closure_size: Option<u64>,
}

/// `nix path-info`.
pub(super) fn path_info(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (mut installables, flags) = parse(front, arguments, &FLAGS)?;
    let has = |short: &str, long: &str| flags.contains(short) || flags.contains(long);
    let wish = Wish {
        size: has("-s", "--size"),
        closure_size: has("-S", "--closure-size"),
        signatures: flags.contains("--sigs"),
        human: has("-h", "--human-readable"),
    };
    let as_json = flags.contains("--json");
    if let Some(cache) = front.cache()? {
        if let Some(other) =
            flags.iter().find(|flag| !["--json", "-s", "--size", "--sigs"].contains(&flag.as_str()))
        {
            bail!("'nix path-info' of a cache does not take '{other}'");
        }
        return of_cache(&cache, &layout(None)?.store_dir, installables.words(), &wish, as_json);
    }
    let store = Rc::new(front.open()?);
    let mut paths = if flags.contains("--all") {
        store.all_valid()?.into_iter().collect()
    } else {
        outputs(front, &store, &mut installables)?
    };
    if has("-r", "--recursive") {
        paths = store.sort_by_references(&store.closure(paths)?)?;
    }
    let mut rows = BTreeMap::new();
    let mut infos = Vec::new();
    for path in &paths {
        let Some(info) = store.query_path_info(path)? else {
            if as_json {
                rows.insert(store.dir().print(path), Value::Null);
                continue;
            }
            bail!("path '{}' is not valid", store.dir().print(path));
        };
        let mut closure_size = None;
        if wish.closure_size {
            let mut size = 0;
            for member in store.closure([path.clone()])? {
                size += store.path_info(&member)?.nar_size;
            }
            closure_size = Some(size);
        }
        if as_json {
            rows.insert(store.dir().print(path), to_json(&info, closure_size, None, store.dir()));
        } else {
            infos.push(Row { info, closure_size });
        }
    }
    if as_json {
        writeln!(std::io::stdout(), "{}", json!(rows))?;
    } else {
        print_rows(&infos, &wish, store.dir())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a table.
fn print_rows(rows: &[Row], wish: &Wish, store: &StoreDir) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let widest = rows.iter().map(|row| store.print(&row.info.path).len()).max().unwrap_or_default();
    for Row { info, closure_size } in rows {
        let path = store.print(&info.path);
        let has_columns = wish.size || wish.closure_size || wish.signatures;
        let width = if has_columns { widest } else { 0 };
        write!(out, "{path:<width$}")?;
        let sizes = [wish.size.then_some(info.nar_size), *closure_size];
        for size in sizes.into_iter().flatten() {
            if wish.human {
                write!(out, "\t{}", human(size))?;
            } else {
                write!(out, "\t{size:>11}")?;
            }
        }
        if wish.signatures {
            let mut words: Vec<String> = Vec::new();
            words.extend(info.ultimate.then(|| "ultimate".to_owned()));
            words.extend(info.content_address.as_ref().map(|address| format!("ca:{address}")));
            words.extend(info.signatures.iter().cloned());
            write!(out, "\t{}", words.join(" "))?;
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}

/// A size in a column of ten.
fn human(bytes: u64) -> String {
    let mut size = bytes as f64 / 1024.0;
    let mut units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].iter();
    let mut unit = units.next();
    while size > 1024.0
        && let Some(next) = units.next()
    {
        size /= 1024.0;
        unit = Some(next);
    }
    format!("{size:>6.1} {}", unit.unwrap_or(&"KiB"))
}

/// A description as JSON, with what only a cache knows.
fn to_json(info: &PathInfo, closure_size: Option<u64>, cached: Option<&NarInfo>, store: &StoreDir) -> Value {
    let print = |path: &StorePath| store.print(path);
    let time = if cached.is_some() { Value::Null } else { json!(info.registration_time) };
    let mut value: Map<String, Value> = [
        ("ca", json!(info.content_address.as_ref().map(ToString::to_string))),
        ("deriver", json!(info.deriver.as_ref().map(print))),
        ("narHash", json!(info.nar_hash.sri())),
        ("narSize", json!(info.nar_size)),
        ("references", info.references.iter().map(print).collect()),
        ("registrationTime", time),
        ("signatures", json!(info.signatures)),
        ("ultimate", json!(info.ultimate)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if let Some(size) = closure_size {
        value.insert("closureSize".to_owned(), json!(size));
    }
    if let Some(cached) = cached {
        value.insert("url".to_owned(), json!(cached.url));
        value.insert("compression".to_owned(), json!(cached.compression.name()));
        value.insert(
            "downloadHash".to_owned(),
            json!(cached.file_hash.as_ref().map(formats::hash::Hash::sri)),
        );
        value.insert("downloadSize".to_owned(), json!(cached.file_size));
    }
    Value::Object(value)
}

/// The same of a cache.
fn of_cache(
    cache: &Cache,
    store: &StoreDir,
    words: &[String],
    wish: &Wish,
    as_json: bool,
) -> Result<ExitCode> {
    let mut values = BTreeMap::new();
    let mut rows = Vec::new();
    let words: BTreeSet<&String> = words.iter().collect();
    for word in words {
        let path = store.parse_below(word)?.0;
        match cache.narinfo(&path)? {
            Some(narinfo) if as_json => {
                values.insert(store.print(&path), to_json(&narinfo.info, None, Some(&narinfo), store));
            }
            None if as_json => {
                values.insert(store.print(&path), Value::Null);
            }
            Some(narinfo) => rows.push(Row { info: narinfo.info, closure_size: None }),
            None => bail!("path '{}' is not valid", store.print(&path)),
        }
    }
    if as_json {
        writeln!(std::io::stdout(), "{}", json!(values))?;
    } else {
        print_rows(&rows, wish, store)?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (616, "   0.6 KiB"),
            (1784, "   1.7 KiB"),
            (1024 * 1024, "1024.0 KiB"),
            (1024 * 1024 + 1, "   1.0 MiB"),
            (u64::MAX, "  16.0 EiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
