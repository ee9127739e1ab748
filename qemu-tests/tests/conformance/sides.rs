//! Boots both machines and takes down what they say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qemu_tests::initrd::Initrd;
use qemu_tests::{Machine, debian, kernel};

use crate::definitions::Cases;
use crate::{data, image};

/// What one machine said: file → lines.
pub(crate) type Seen = BTreeMap<String, Vec<String>>;

/// What is the same for both machines.
struct Ground {
    vmlinux: PathBuf,
    cache: PathBuf,
}

impl Ground {
    fn new(cache: &Path) -> Self {
        let cloud = debian::cloud_kernel(cache).unwrap();
        let vmlinux = kernel::for_direct_boot(&cloud.bzimage, cache).unwrap();
        Self { vmlinux, cache: cache.to_owned() }
    }

    fn boot(&self, name: &str, initrd: &Initrd, init: &str) -> Seen {
        let file = self.cache.join(format!("{name}.cpio"));
        initrd.write(&file).unwrap();
        let machine = Machine::builder(format!("conformance-{name}"))
            .memory_mib(1536)
            .no_reboot()
            .limit(Duration::from_secs(1200))
            .kernel(
                &self.vmlinux,
                Some(&file),
                &format!(
                    "console=ttyS0 quiet loglevel=1 panic=-1 printk.devkmsg=on conformance conformance.word=x conformance.init={init} \
                     systemd.show_status=no systemd.log_target=null"
                ),
            )
            .start()
            .unwrap();
        machine.wait_for_console("@@end").unwrap();
        let text = machine.console_text();
        machine.wait_for_shutdown().unwrap();
        std::fs::write(self.cache.join(format!("seen-{name}")), &text).unwrap();
        read(&text)
    }
}

/// What Firn shows of these cases.
pub(crate) fn firn(cases: &Cases, cache: &Path, name: &str) -> Seen {
    let ground = Ground::new(cache);
    let agent = dist().join("bin/firn-agent");
    let common = image::common(Initrd::default(), cases, &data(), cache, &agent);
    ground.boot(name, &with_firn(common, cases), "/firn/init")
}

/// What systemd shows of these cases. What it showed once of a case is kept until the case or the machine's other
/// contents change.
pub(crate) fn systemd(cases: &Cases, cache: &Path, kept: &Path) -> Seen {
    let ground = Ground::new(cache);
    let (debian, versions) = image::debian(cache);
    let mut inputs = versions + &ground.vmlinux.to_string_lossy();
    for name in ["driver.sh", "functions.sh", "init.sh", "passwd", "group", "environment", "image.rs"] {
        inputs += &std::fs::read_to_string(data().join(name)).unwrap();
    }
    inputs += include_str!("../../src/bin/firn-agent/probe.rs");
    std::fs::create_dir_all(kept).unwrap();
    let place = |name: &str| kept.join(format!("{:016x}", hash(&(inputs.clone() + &cases.text_of(name)))));
    let missing = cases.only(|name| !place(name).exists());
    if !missing.owned.is_empty() {
        let agent = dist().join("bin/firn-agent");
        let common = image::common(debian, &missing, &data(), cache, &agent);
        let seen = ground.boot("systemd", &with_systemd(common, &missing), "/lib/systemd/systemd");
        for name in missing.owned.keys() {
            let files = [
                name.clone(),
                format!("{name}.service"),
                format!("to.{name}.service"),
                format!("states.{name}"),
            ];
            let mut text = String::new();
            for file in files {
                if let Some(lines) = seen.get(&file) {
                    text.extend(["@@ ", &file, "\n", &lines.join("\n"), "\n"]);
                }
            }
            std::fs::write(place(name), text).unwrap();
        }
    }
    cases.owned.keys().flat_map(|name| read(&std::fs::read_to_string(place(name)).unwrap())).collect()
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The parts that begin with `@@ NAME`, or with `==> NAME <==` as head(1) has it. The states of units become parts of their own.
fn read(text: &str) -> Seen {
    let mut seen = Seen::new();
    let mut name: Option<String> = None;
    for line in text.lines().map(|line| line.trim_end_matches('\r')) {
        let headed = line.strip_prefix("==> ").and_then(|rest| rest.strip_suffix(" <=="));
        if let Some(next) = line.strip_prefix("@@ ").or(headed) {
            name = Some(next.trim().to_owned());
            let lines = seen.entry(next.trim().to_owned()).or_default();
            // Several batches have states.
            if next.trim() == "states" {
                lines.push("==".to_owned());
            }
        } else if line.starts_with("@@") {
            name = None;
        } else if let Some(name) = &name
            && !line.is_empty()
        {
            seen.get_mut(name).unwrap().push(line.to_owned());
        }
    }
    for block in seen.remove("states").unwrap_or_default().split(|line| line == "==") {
        let id = block.iter().find_map(|line| line.strip_prefix("Id="));
        if let Some(id) = id {
            seen.insert(format!("states.{}", id.trim_end_matches(".service")), block.to_vec());
        }
    }
    seen.remove("/dev/null");
    seen
}

fn dist() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/dist");
    std::env::var_os("FIRN_DIST").map_or(here, PathBuf::from)
}

const DRIVER: &str =
    "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/conformance/driver\nStandardOutput=null\n";

/// Firn's side: the units compiled to a graph, `firn` as systemctl.
fn with_firn(common: Initrd, cases: &Cases) -> Initrd {
    let mut definitions = BTreeMap::new();
    let stubs = [
        "sysinit.target",
        "basic.target",
        "shutdown.target",
        "sockets.target",
        "timers.target",
        "paths.target",
    ];
    let target = "[Unit]\nDefaultDependencies=no\n";
    let own = stubs.map(|name| (name.to_owned(), target.to_owned()));
    let started = "[Unit]\nDefaultDependencies=no\nWants=driver.service\n";
    let more =
        [("driver.service".to_owned(), DRIVER.to_owned()), ("default.target".to_owned(), started.to_owned())];
    for (name, text) in cases.units.clone().into_iter().chain(own).chain(more) {
        let sections = units::unit_file::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let definition = units::definition::UnitDefinition { sections, ..Default::default() };
        definitions.insert(name, definition);
    }
    let input = units::definition::GraphInput { units: definitions, ..Default::default() };
    let graph = units::compile::compile(&input).unwrap_or_else(|errors| panic!("{errors}"));
    common
        .program("firn/init", &dist().join("bin/firn-init"))
        .unwrap()
        .file("firn/services.graph", 0o444, graph)
        .program("conformance/bin/systemctl", &dist().join("bin/firn"))
        .unwrap()
}

/// systemd's side: its own systemctl, and what `systemctl enable` would make of the units.
fn with_systemd(common: Initrd, cases: &Cases) -> Initrd {
    let mut initrd = common
        .file("etc/systemd/system/driver.service", 0o644, DRIVER)
        .file(
            "etc/systemd/system/default.target",
            0o644,
            "[Unit]\nDefaultDependencies=no\nWants=driver.service systemd-journald.service keep.target\n",
        )
        // systemd forgets a unit that is down and that no other one names, and how it went.
        .file(
            "etc/systemd/system/keep.target",
            0o644,
            format!("[Unit]\nDefaultDependencies=no\nAfter={}\n", cases.probes.join(" ")),
        )
        .link("conformance/bin/systemctl", "/bin/systemctl");
    for (name, text) in &cases.units {
        let sections = units::unit_file::parse(text).unwrap();
        for (directive, values) in sections.get("Install").into_iter().flatten() {
            for target in values.iter().flat_map(|value| value.split_whitespace()) {
                let place = match directive.as_str() {
                    "WantedBy" => format!("{target}.wants/{name}"),
                    "RequiredBy" => format!("{target}.requires/{name}"),
                    "Alias" => target.to_owned(),
                    _ => continue,
                };
                initrd = initrd
                    .link(&format!("etc/systemd/system/{place}"), &format!("/etc/systemd/system/{name}"));
            }
        }
    }
    initrd
}
