//! `nix config show`, `nix describe-stores`: which settings there are and what they are set to.

use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

/// What holds of the settings that Firn heeds when nothing is said.
const DEFAULTS: [(&str, &str); 40] = [
    ("allowed-users", "*"),
    ("auto-optimise-store", "false"),
    ("build-memory-max", ""),
    ("build-tasks-max", ""),
    ("builders", "@/etc/nix/machines"),
    ("builders-use-substitutes", "false"),
    ("connect-timeout", "0"),
    ("cores", ""),
    ("experimental-features", ""),
    ("extra-platforms", ""),
    ("fallback", "false"),
    ("hashed-mirrors", ""),
    ("keep-derivations", "true"),
    ("keep-failed", "false"),
    ("keep-going", "false"),
    ("keep-outputs", "false"),
    ("log-lines", "25"),
    ("max-build-log-size", "0"),
    ("max-call-depth", "10000"),
    ("max-free", ""),
    ("max-jobs", ""),
    ("max-silent-time", "0"),
    ("min-free", "0"),
    ("narinfo-cache-negative-ttl", "3600"),
    ("narinfo-cache-positive-ttl", "2592000"),
    ("post-build-hook", ""),
    ("pure-eval", "false"),
    ("require-sigs", "true"),
    ("restrict-eval", "false"),
    ("sandbox", "true"),
    ("sandbox-paths", ""),
    ("secret-key-files", ""),
    ("substitute", "true"),
    ("substituters", ""),
    ("tarball-ttl", "3600"),
    ("timeout", "0"),
    ("trusted-public-keys", ""),
    ("trusted-users", "root"),
    ("user-builds-max", "0"),
    ("user-connections-max", "256"),
];

/// `nix config show [NAME]`.
pub(super) fn show(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (mut as_json, mut wanted) = (false, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            _ if front.take(&argument, arguments)? => {}
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            _ => wanted = Some(argument),
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).to_string();
    let default = |name: &str, value: &str| match name {
        "cores" | "max-jobs" => cores.clone(),
        _ => value.to_owned(),
    };
    let defaults: BTreeMap<&str, String> =
        DEFAULTS.iter().map(|(name, value)| (*name, default(name, value))).collect();
    let mut settings: BTreeMap<String, String> =
        defaults.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    for line in front.conf.settings().to_text().lines() {
        if let Some((name, value)) = line.split_once('=') {
            settings.insert(name.trim().to_owned(), value.trim().to_owned());
        }
    }
    let mut out = std::io::stdout().lock();
    if let Some(name) = wanted {
        let value = settings.get(&name).with_context(|| format!("could not find setting '{name}'"))?;
        writeln!(out, "{value}")?;
    } else if as_json {
        let entry = |(name, value): (&String, &String)| {
            let default = defaults.get(name.as_str()).map_or(Value::Null, |default| typed(default));
            (name.clone(), json!({ "value": typed(value), "defaultValue": default }))
        };
        writeln!(out, "{}", Value::Object(settings.iter().map(entry).collect::<Map<_, _>>()))?;
    } else {
        for (name, value) in &settings {
            writeln!(out, "{name} = {value}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A value as what it looks like.
fn typed(value: &str) -> Value {
    match (value, value.parse::<i64>()) {
        ("true", _) => json!(true),
        ("false", _) => json!(false),
        (_, Ok(number)) => json!(number),
        _ => json!(value),
    }
}

/// The settings of stores, by their kinds, with their defaults.
fn store_kinds() -> Value {
    let setting =
        |description: &str, default: Value| json!({"description": description, "defaultValue": default});
    let ssh = json!({
        "compress": setting("whether to compress the connection", json!(false)),
        "remote-program": setting("the program to start there", json!("nix-store")),
        "remote-store": setting("the store to use there", json!("")),
        "ssh-key": setting("the file with the key to log in with", json!("")),
        "store": setting("what the store's paths begin with", json!("/nix/store")),
    });
    let cache = json!({
        "compression": setting("xz, zstd, gzip, bzip2 or none", json!("zstd")),
        "compression-level": setting("how hard to compress", Value::Null),
        "priority": setting("which of several caches is asked first", json!(50)),
        "secret-key": setting("the file with the key to sign with", json!("")),
        "trusted": setting("whether its paths need no signature", json!(false)),
    });
    let local = json!({
        "root": setting("the directory below which the store is", json!("")),
        "real": setting("where the store's files are", json!("/nix/store")),
        "state": setting("where its database is", json!("/nix/var/nix")),
        "log": setting("where build logs are", json!("/nix/var/log/nix")),
        "require-sigs": setting("whether paths from elsewhere need signatures", json!(true)),
    });
    let mut daemon = ssh.clone();
    daemon["remote-program"] = setting("the program to start there", json!("nix-daemon"));
    json!({
        "Local Store": local,
        "Local Daemon Store": {"store": setting("what the store's paths begin with", json!("/nix/store"))},
        "Local Binary Cache Store": cache,
        "HTTP Binary Cache Store": cache,
        "SSH Store": ssh,
        "Experimental SSH Store": daemon,
    })
}

/// `nix describe-stores`.
pub(super) fn describe_stores(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut as_json = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            _ if front.take(&argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    let kinds = store_kinds();
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{kinds}")?;
        return Ok(ExitCode::SUCCESS);
    }
    for (kind, settings) in kinds.as_object().into_iter().flatten() {
        writeln!(out, "{kind}")?;
        for (name, setting) in settings.as_object().into_iter().flatten() {
            let text = setting.get("description").and_then(Value::as_str).unwrap_or_default();
            let default = setting.get("defaultValue").cloned().unwrap_or_default();
            writeln!(out, "  {name}: {text} [default: {default}]")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
