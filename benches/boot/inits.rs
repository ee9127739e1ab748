//! The inits, each with an initial file system in which it starts the same services by its own means.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use qemu_tests::initrd::Initrd;

use crate::measure::PROBE;
use crate::service;

type Made = Result<Initrd, Box<dyn Error>>;

/// One init.
pub(crate) struct Init {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// Words for the kernel's command line.
    pub(crate) words: &'static str,
    /// Makes the file system with so many services; a directory to work in is given.
    pub(crate) make: fn(usize, &Path) -> Made,
}

/// All that are compared.
pub(crate) fn all() -> Vec<Init> {
    vec![
        Init { name: "firn", words: "", make: firn },
        Init { name: "busybox", words: "", make: busybox_inittab },
        Init { name: "busybox-script", words: "", make: busybox_script },
    ]
}

/// The directories, the services and the probe.
fn common(services: usize) -> Made {
    let mut initrd = ["proc", "sys", "dev", "run", "tmp", "etc", "var"]
        .into_iter()
        .fold(Initrd::default(), Initrd::directory);
    for number in 0..services {
        initrd =
            initrd.file(&format!("bin/svc{number}"), 0o755, service::program(&format!("svc {number}\n")));
    }
    Ok(initrd.file("bin/probe", 0o755, PROBE).program("bin/busybox", &busybox()?)?)
}

fn busybox() -> Result<PathBuf, Box<dyn Error>> {
    let places = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new);
    let found = places.into_iter().find(|path| path.exists());
    Ok(found.ok_or("no busybox: install the Debian package busybox-static")?.to_owned())
}

/// Each service in its own cgroup, its output collected, restarted by its rules.
fn firn(services: usize, directory: &Path) -> Made {
    let dist = std::env::var_os("FIRN_DIST")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist"), PathBuf::from);
    let mut definitions = serde_json::Map::new();
    let names = (0..services).map(|number| (format!("svc{number}.service"), format!("/bin/svc{number}")));
    for (name, program) in names.chain([("zz-probe.service".to_owned(), "/bin/probe".to_owned())]) {
        let sections = serde_json::json!({
            "Unit": { "DefaultDependencies": ["no"] },
            "Service": { "ExecStart": [program], "Restart": ["always"] },
            "Install": { "WantedBy": ["multi-user.target"] },
        });
        definitions.insert(name, serde_json::json!({ "sections": sections }));
    }
    definitions.insert("multi-user.target".to_owned(), serde_json::json!({}));
    let input = serde_json::from_value(serde_json::json!({ "units": definitions }))?;
    let graph = directory.join("services.graph");
    std::fs::write(&graph, units::compile::compile(&input)?)?;
    let initrd = common(services)?.program("init", &dist.join("bin/firn-init"))?;
    Ok(initrd.program("services.graph", &graph)?)
}

/// busybox's init by /etc/inittab, the services as entries that are started again.
fn busybox_inittab(services: usize, _: &Path) -> Made {
    let mut table = String::from("::sysinit:/etc/rc\n");
    for number in 0..services {
        writeln!(table, "::respawn:/bin/svc{number}")?;
    }
    table.push_str("::respawn:/bin/probe\n");
    Ok(with_busybox_init(common(services)?, table).file("etc/rc", 0o755, MOUNTS))
}

/// busybox's init with a script that starts the services and leaves them alone.
fn busybox_script(services: usize, _: &Path) -> Made {
    let mut script = String::from(MOUNTS);
    for number in 0..services {
        writeln!(script, "/bin/svc{number} &")?;
    }
    script.push_str("/bin/probe &\n");
    let table = String::from("::sysinit:/etc/rc\n");
    Ok(with_busybox_init(common(services)?, table).file("etc/rc", 0o755, script))
}

/// What Firn mounts too.
const MOUNTS: &str = r"#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
$b mkdir /dev/pts /dev/shm /dev/mqueue
$b mount -t devpts devpts /dev/pts
$b mount -t tmpfs tmpfs /dev/shm
$b mount -t mqueue mqueue /dev/mqueue
$b mount -t tmpfs tmpfs /run
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
$b ip link set lo up
";

fn with_busybox_init(initrd: Initrd, table: String) -> Initrd {
    initrd.link("init", "bin/busybox").link("bin/init", "busybox").file("etc/inittab", 0o644, table)
}
