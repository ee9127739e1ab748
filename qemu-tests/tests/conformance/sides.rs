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

/// Firn and systemd.
pub(crate) fn run(cases: &Cases, here: &Path) -> [Seen; 2] {
    let common = image::common(cases, &data(), here);
    let cloud = debian::cloud_kernel(here).unwrap();
    let vmlinux = kernel::for_direct_boot(&cloud.bzimage, here).unwrap();
    let wanted = std::env::var("FIRN_CONFORMANCE_SIDE").unwrap_or_default();
    [("firn", "/firn/init"), ("systemd", "/lib/systemd/systemd")].map(|(name, init)| {
        let kept = here.join(format!("seen-{name}"));
        if !wanted.is_empty() && wanted != name {
            // While one works on one side: what the other said last.
            return read(&std::fs::read_to_string(&kept).unwrap_or_default());
        }
        let initrd =
            if name == "firn" { firn(common.clone(), cases) } else { systemd(common.clone(), cases) };
        let file = here.join(format!("{name}.cpio"));
        initrd.write(&file).unwrap();
        let text = boot(name, &vmlinux, &file, init);
        std::fs::write(&kept, &text).unwrap();
        read(&text)
    })
}

fn boot(name: &str, vmlinux: &Path, initrd: &Path, init: &str) -> String {
    let machine = Machine::builder(format!("conformance-{name}"))
        .memory_mib(1536)
        .no_reboot()
        .limit(Duration::from_secs(1200))
        .kernel(
            vmlinux,
            Some(initrd),
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
    text
}

/// The parts that begin with `@@ NAME`.
fn read(text: &str) -> Seen {
    let mut seen = Seen::new();
    let mut name = None;
    for line in text.lines().map(|line| line.trim_end_matches('\r')) {
        if let Some(next) = line.strip_prefix("@@ ") {
            name = Some(next.trim().to_owned());
            seen.entry(next.trim().to_owned()).or_default();
        } else if line.starts_with("@@") {
            name = None;
        } else if let Some(name) = &name
            && !line.is_empty()
        {
            seen.get_mut(name).unwrap().push(line.to_owned());
        }
    }
    seen
}

fn dist() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/dist");
    std::env::var_os("FIRN_DIST").map_or(here, PathBuf::from)
}

const DRIVER: &str =
    "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/conformance/driver\nStandardOutput=null\n";

/// Firn's side: the units compiled to a graph, `firn` as systemctl.
fn firn(common: Initrd, cases: &Cases) -> Initrd {
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
fn systemd(common: Initrd, cases: &Cases) -> Initrd {
    let mut initrd = common
        .file("etc/systemd/system/driver.service", 0o644, DRIVER)
        .file(
            "etc/systemd/system/default.target",
            0o644,
            "[Unit]\nDefaultDependencies=no\nWants=driver.service systemd-journald.service\n",
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
