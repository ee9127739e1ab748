//! `systemd-run`: a command as a unit of its own, now or by a timer. The running service graph is written once more with the
//! new units in it, below /run, and the supervisor goes over to it; nothing else changes. The next `firn switch` ends such
//! units with its own graph.

use super::options::{Line, Option_, flag, with_value};
use crate::family::Failure;
use crate::service::{ask, ask_states, connect};
use anyhow::{Context as _, Result, bail};
use formats::control::{ActiveState, MainExit, Phase, Reply, Request, Verb};
use formats::service_graph::UnitKind;
use formats::service_graph::builder::{GraphBuilder, Value};
use formats::service_graph::rebuild::settings_of;
use formats::service_graph::view::{Graph, Unit};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use units::definition::{GraphInput, Sections, UnitDefinition};

const OPTIONS: &[Option_] = &[
    with_value("unit", 'u'),
    with_value("property", 'p'),
    with_value("setenv", 'E'),
    with_value("description", ' '),
    with_value("slice", ' '),
    with_value("service-type", ' '),
    with_value("working-directory", ' '),
    with_value("uid", ' '),
    with_value("gid", ' '),
    with_value("nice", ' '),
    with_value("on-active", ' '),
    with_value("on-boot", ' '),
    with_value("on-startup", ' '),
    with_value("on-unit-active", ' '),
    with_value("on-unit-inactive", ' '),
    with_value("on-calendar", ' '),
    with_value("timer-property", ' '),
    flag("remain-after-exit", 'r'),
    flag("same-dir", 'd'),
    flag("collect", 'G'),
    flag("wait", ' '),
    flag("pipe", 'P'),
    flag("quiet", 'q'),
    flag("no-block", ' '),
    flag("no-ask-password", ' '),
    flag("send-sighup", ' '),
    flag("system", ' '),
];

/// Where graphs with transient units lie.
const DIRECTORY: &str = "/run/firn/transient";

/// A timer's options and its directives.
const TIMES: [(&str, &str); 6] = [
    ("on-active", "OnActiveSec"),
    ("on-boot", "OnBootSec"),
    ("on-startup", "OnStartupSec"),
    ("on-unit-active", "OnUnitActiveSec"),
    ("on-unit-inactive", "OnUnitInactiveSec"),
    ("on-calendar", "OnCalendar"),
];

/// Runs it.
pub(super) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let line = Line::read("systemd-run", OPTIONS, arguments, true)?;
    let Some(program) = line.words.first() else { bail!("systemd-run: no command given") };
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let name = line.value("unit").map_or_else(
        || format!("run-{}", id.trim().replace('-', "")),
        |name| name.trim_end_matches(".service").trim_end_matches(".timer").to_owned(),
    );
    let service = format!("{name}.service");
    let pipes = if line.has("pipe") { Some(Pipes::make(&name)?) } else { None };
    let mut added = BTreeMap::from([(service.clone(), definition(&line, &find(program)?, pipes.as_ref())?)]);
    let mut started = service.clone();
    if let Some(timer) = timer(&line) {
        started = format!("{name}.timer");
        added.insert(started.clone(), timer);
    }
    let mut stream = connect()?;
    enter(&mut stream, &name, &added)?;
    let waits = line.has("wait") || pipes.is_some();
    if !line.has("quiet") {
        writeln!(std::io::stderr(), "Running as unit: {started}")?;
    }
    // A pipe's command begins when its ends are opened here.
    let carried = pipes.map(Pipes::carry);
    let wait_for_start = !line.has("no-block") && carried.is_none();
    let request = Request::Job { verb: Verb::Start, unit: started.clone(), wait: wait_for_start && !waits };
    match ask(&mut stream, &request, |_| Ok(()))? {
        Reply::Done { result } if matches!(result.as_str(), "done" | "queued" | "skipped") => {}
        Reply::Done { result } => {
            let message =
                format!("Job for {started} failed ({result}); `journalctl -u {started}` may say why.");
            return Err(Failure { code: 1, message }.into());
        }
        _ => bail!("the supervisor gave an answer that does not fit the question"),
    }
    if !waits {
        return Ok(ExitCode::SUCCESS);
    }
    let status = loop {
        let found = ask_states(&mut stream, &Request::Status { unit: service.clone() })?;
        let status = found.into_iter().next().context("the unit is gone")?;
        if matches!(status.active, ActiveState::Inactive | ActiveState::Failed) && status.since != 0 {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    for thread in carried.into_iter().flatten() {
        drop(thread.join());
    }
    Ok(ExitCode::from(match status.main_exit() {
        None => u8::from(status.result != "success"),
        Some(MainExit::Code(code)) => code,
        Some(MainExit::Signal(signal) | MainExit::CoreDump(signal)) => 128 + signal,
    }))
}

/// A program's absolute path.
fn find(program: &str) -> Result<PathBuf> {
    if program.contains('/') {
        return std::path::absolute(program).with_context(|| format!("cannot tell where {program} is"));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let found =
        path.split(':').map(|directory| Path::new(directory).join(program)).find(|path| path.is_file());
    found.with_context(|| format!("systemd-run: there is no program `{program}` in PATH"))
}

/// A word of ExecStart= that comes out as it is.
fn quoted(word: &str) -> String {
    let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('\n', "\\n");
    format!("\"{word}\"")
}

fn definition(line: &Line, program: &Path, pipes: Option<&Pipes>) -> Result<UnitDefinition> {
    let mut sections = Sections::new();
    let mut put = |section: &str, name: &str, value: String| {
        sections.entry(section.to_owned()).or_default().entry(name.to_owned()).or_default().push(value);
    };
    let words: Vec<String> = line.words.iter().map(|word| quoted(word)).collect();
    let command =
        format!(":{} {}", quoted(&program.to_string_lossy()), words.get(1..).unwrap_or_default().join(" "));
    put("Service", "ExecStart", command.trim_end().to_owned());
    put("Unit", "Description", line.value("description").unwrap_or(&line.words.join(" ")).replace('%', "%%"));
    for (option, directive) in [
        ("slice", "Slice"),
        ("service-type", "Type"),
        ("uid", "User"),
        ("gid", "Group"),
        ("nice", "Nice"),
        ("working-directory", "WorkingDirectory"),
    ] {
        if let Some(value) = line.value(option) {
            put("Service", directive, value.to_owned());
        }
    }
    if line.has("same-dir") {
        put("Service", "WorkingDirectory", std::env::current_dir()?.to_string_lossy().into_owned());
    }
    if line.has("remain-after-exit") {
        put("Service", "RemainAfterExit", "yes".into());
    }
    if line.has("send-sighup") {
        put("Service", "SendSIGHUP", "yes".into());
    }
    for setting in line.values("setenv") {
        let assignment = match setting.split_once('=') {
            Some(_) => setting.to_owned(),
            None => format!("{setting}={}", std::env::var(setting).unwrap_or_default()),
        };
        put("Service", "Environment", quoted(&assignment));
    }
    if let Some(pipes) = pipes {
        put("Service", "StandardInput", format!("file:{}", pipes.place(0)));
        put("Service", "StandardOutput", format!("file:{}", pipes.place(1)));
        put("Service", "StandardError", format!("file:{}", pipes.place(2)));
    }
    for property in line.values("property") {
        let Some((name, value)) = property.split_once('=') else {
            bail!("systemd-run: --property={property}: write NAME=VALUE");
        };
        let section = if UNIT_DIRECTIVES.contains(&name) { "Unit" } else { "Service" };
        put(section, name, value.to_owned());
    }
    Ok(UnitDefinition { sections, defined_at: Some("systemd-run".into()), ..UnitDefinition::default() })
}

/// Properties that stand in `[Unit]`.
const UNIT_DIRECTIVES: [&str; 18] = [
    "Description",
    "After",
    "Before",
    "Requires",
    "Wants",
    "BindsTo",
    "PartOf",
    "Conflicts",
    "OnFailure",
    "OnSuccess",
    "DefaultDependencies",
    "StartLimitBurst",
    "StartLimitIntervalSec",
    "ConditionPathExists",
    "RequiresMountsFor",
    "CollectMode",
    "Requisite",
    "JobTimeoutSec",
];

/// The timer, when one is asked for.
fn timer(line: &Line) -> Option<UnitDefinition> {
    let mut directives: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (option, directive) in TIMES {
        for value in line.values(option) {
            directives.entry(directive.to_owned()).or_default().push(value.to_owned());
        }
    }
    if directives.is_empty() {
        return None;
    }
    for (name, value) in line.values("timer-property").filter_map(|property| property.split_once('=')) {
        directives.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    let sections = Sections::from([("Timer".to_owned(), directives)]);
    Some(UnitDefinition { sections, defined_at: Some("systemd-run".into()), ..UnitDefinition::default() })
}

/// The graph that runs now: the last one with transient units, unless the generation changed since.
pub(crate) fn running_graph() -> Result<Vec<u8>> {
    let generation =
        std::fs::canonicalize("/run/current-system").context("cannot tell the running generation")?;
    let current = Path::new(DIRECTORY).join("current");
    let is_of_generation =
        std::fs::read_link(Path::new(DIRECTORY).join("generation")).is_ok_and(|of| of == generation);
    if is_of_generation && let Ok(bytes) = std::fs::read(&current) {
        return Ok(bytes);
    }
    let path = generation.join("services.graph");
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Compiles the new units among those that run and has the supervisor go over to the whole.
pub(crate) fn enter(
    stream: &mut UnixStream,
    name: &str,
    added: &BTreeMap<String, UnitDefinition>,
) -> Result<()> {
    std::fs::create_dir_all(DIRECTORY).with_context(|| format!("cannot make {DIRECTORY}"))?;
    let lock = std::fs::File::create(Path::new(DIRECTORY).join("lock"))?;
    let _lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .context("cannot wait for another systemd-run")?;
    let bytes = running_graph()?;
    let running = Graph::load(&bytes).map_err(|error| anyhow::anyhow!("the running graph: {error}"))?;
    if let Some(taken) = added.keys().find(|name| running.find(name).is_some()) {
        let states = ask_states(stream, &Request::Status { unit: taken.clone() })?;
        let runs =
            states.iter().any(|unit| !matches!(unit.active, ActiveState::Inactive | ActiveState::Failed));
        let is_ours =
            running.find(taken).and_then(|unit| unit.text(formats::service_graph::key::Key::DefinedAt))
                == Some("systemd-run");
        if runs || !is_ours {
            bail!("systemd-run: there is a unit {taken} already");
        }
    }
    // The others stand in by name, so that what the new ones need is found.
    let mut input = GraphInput::default();
    let plain = Sections::from([(
        "Unit".to_owned(),
        BTreeMap::from([("DefaultDependencies".to_owned(), vec!["no".to_owned()])]),
    )]);
    let is_template = |unit: &Unit<'_>| unit.flag(formats::service_graph::key::flag::TEMPLATE);
    for unit in running.units().filter(|unit| !added.contains_key(unit.name()) && !is_template(unit)) {
        let mut sections = plain.clone();
        if unit.kind() == UnitKind::Service {
            let command = BTreeMap::from([("ExecStart".to_owned(), vec!["/bin/true".to_owned()])]);
            sections.insert("Service".to_owned(), command);
        } else if !matches!(unit.kind(), UnitKind::Target | UnitKind::Slice) {
            continue;
        }
        input.units.insert(unit.name().to_owned(), UnitDefinition { sections, ..UnitDefinition::default() });
    }
    input.units.extend(added.iter().map(|(name, unit)| (name.clone(), unit.clone())));
    let compiled = units::compile::compile(&input).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let compiled = Graph::load(&compiled).map_err(|error| anyhow::anyhow!("the new unit: {error}"))?;
    let mut builder = GraphBuilder::default();
    let finished = finished(stream)?;
    let stays = |name: &str| !added.contains_key(name) && !finished.contains(name);
    for unit in running.units().filter(|unit| stays(unit.name())) {
        let mut settings = settings_of(&running, &unit);
        for value in settings.values_mut() {
            if let Value::Units(names) = value {
                names.retain(|name| !finished.contains(name));
            }
        }
        builder.add(unit.name(), settings);
    }
    for name in added.keys() {
        let unit = compiled.find(name).context("the new unit did not come to be")?;
        builder.add(name, settings_of(&compiled, &unit));
    }
    let whole = builder.build().map_err(|error| anyhow::anyhow!("{error}"))?;
    let path = Path::new(DIRECTORY).join(format!("{name}.graph"));
    std::fs::write(&path, whole).with_context(|| format!("cannot write {}", path.display()))?;
    let graph = path.to_string_lossy().into_owned();
    ask(stream, &Request::Switch { graph, phase: Phase::Whole }, |_| Ok(()))?;
    let link = |name: &str, target: &Path| -> Result<()> {
        let (new, place) =
            (Path::new(DIRECTORY).join(format!("{name}.new")), Path::new(DIRECTORY).join(name));
        drop(std::fs::remove_file(&new));
        std::os::unix::fs::symlink(target, &new)?;
        Ok(std::fs::rename(new, place)?)
    };
    link("generation", &std::fs::canonicalize("/run/current-system")?)?;
    link("current", &path)?;
    // The supervisor has mapped its graph and needs the file of the present one only.
    for entry in std::fs::read_dir(DIRECTORY)?.flatten() {
        let old = entry.path();
        if old != path && old.extension().is_some_and(|ending| ending == "graph") {
            drop(std::fs::remove_file(old));
        }
    }
    Ok(())
}

/// Earlier transient units that ended more than a minute ago.
fn finished(stream: &mut UnixStream) -> Result<BTreeSet<String>> {
    let long_ago = crate::logs::now().saturating_sub(60_000_000);
    let units = ask_states(stream, &Request::List)?.into_iter();
    let over = units.filter(|unit| {
        unit.defined_at == "systemd-run" && unit.active == ActiveState::Inactive && unit.since < long_ago
    });
    Ok(over.map(|unit| unit.name).collect())
}

/// Named pipes between the command and us (`--pipe`).
struct Pipes(String);

impl Pipes {
    fn make(name: &str) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir_all(DIRECTORY).with_context(|| format!("cannot make {DIRECTORY}"))?;
        let this = Self(name.to_owned());
        for number in 0..3 {
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
            drop(std::fs::remove_file(this.place(number)));
            nix::unistd::mkfifo(this.place(number).as_str(), mode)?;
            std::fs::set_permissions(this.place(number), std::fs::Permissions::from_mode(0o666))?;
        }
        Ok(this)
    }

    fn place(&self, number: u8) -> String {
        format!("{DIRECTORY}/{}.{number}", self.0)
    }

    /// Begins to carry between the pipes and our own streams; the ends of the outputs can be waited for.
    fn carry(self) -> Vec<std::thread::JoinHandle<()>> {
        let input = self.place(0);
        std::thread::spawn(move || {
            if let Ok(mut pipe) = std::fs::OpenOptions::new().write(true).open(&input) {
                drop(std::fs::remove_file(&input));
                drop(std::io::copy(&mut std::io::stdin(), &mut pipe));
            }
        });
        let mut outputs = Vec::new();
        for number in [1, 2] {
            let place = self.place(number);
            outputs.push(std::thread::spawn(move || {
                let Ok(mut pipe) = std::fs::File::open(&place) else { return };
                drop(std::fs::remove_file(&place));
                drop(match number {
                    1 => std::io::copy(&mut pipe, &mut std::io::stdout()),
                    _ => std::io::copy(&mut pipe, &mut std::io::stderr()),
                });
            }));
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_becomes_a_unit() {
        let words: Vec<OsString> =
            "-u x -p MemoryMax=1M -p After=a.target -E A=1 --uid=anna --on-active=5s echo 100%"
                .split(' ')
                .map(OsString::from)
                .collect();
        let line = Line::read("systemd-run", OPTIONS, &words, true).unwrap();
        let unit = definition(&line, Path::new("/bin/echo"), None).unwrap();
        let service = &unit.sections["Service"];
        assert_eq!(service["ExecStart"], [":\"/bin/echo\" \"100%%\""]);
        assert_eq!(service["MemoryMax"], ["1M"]);
        assert_eq!(service["Environment"], ["\"A=1\""]);
        assert_eq!(service["User"], ["anna"]);
        assert_eq!(unit.sections["Unit"]["After"], ["a.target"]);
        assert_eq!(timer(&line).unwrap().sections["Timer"]["OnActiveSec"], ["5s"]);
    }
}
