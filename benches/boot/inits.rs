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
        Init { name: "s6", words: "", make: s6 },
        Init { name: "runit", words: "", make: runit },
        Init { name: "finit", words: "", make: finit },
        Init { name: "systemd", words: "", make: systemd },
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

/// The programs of a Debian package with their libraries, as Debian lays them out.
fn with_debian(initrd: Initrd, names: &[&str]) -> Made {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian");
    let is_wanted = |name: &str| {
        ["usr/share/", "usr/include/", "etc/"].iter().all(|unwanted| !name.starts_with(unwanted))
            && !name.contains("/gconv/")
    };
    qemu_tests::debian::with_libraries(names, &cache)?
        .iter()
        .try_fold(initrd, |initrd, tree| Ok(initrd.tree(tree, is_wanted)?))
}

/// A directory for each service with its program as `run`, for supervisors of daemontools' family.
fn service_directories(initrd: Initrd, services: usize, above: &str) -> Initrd {
    (0..services)
        .map(|number| (format!("svc{number}"), format!("/bin/svc{number}")))
        .chain([("zz-probe".to_owned(), "/bin/probe".to_owned())])
        .fold(initrd, |initrd, (name, program)| initrd.link(&format!("{above}/{name}/run"), &program))
}

/// s6-svscan as process 1, one s6-supervise for each service.
fn s6(services: usize, _: &Path) -> Made {
    let initrd = service_directories(common(services)?, services, "etc/service");
    let init = format!("{MOUNTS}exec /usr/bin/s6-svscan -c 1000 /etc/service\n");
    with_debian(initrd.file("init", 0o755, init), &["s6"])
}

/// runit as process 1, its second stage runsvdir with one runsv for each service.
fn runit(services: usize, _: &Path) -> Made {
    let initrd = service_directories(common(services)?, services, "etc/service");
    let second = "#!/bin/busybox sh\nexec /usr/bin/runsvdir -P /etc/service\n";
    let initrd = initrd
        .link("init", "sbin/runit")
        .file("etc/runit/1", 0o755, MOUNTS)
        .file("etc/runit/2", 0o755, second)
        .file("etc/runit/3", 0o755, "#!/bin/busybox sh\n");
    with_debian(initrd, &["runit"])
}

/// finit with the services in /etc/finit.conf.
fn finit(services: usize, _: &Path) -> Made {
    let mut table = String::from("runlevel 2\n");
    for number in 0..services {
        writeln!(table, "service [2345] name:svc{number} /bin/svc{number} --")?;
    }
    table.push_str("service [2345] name:probe /bin/probe --\n");
    let initrd = common(services)?.link("init", "sbin/finit").file("etc/finit.conf", 0o644, table);
    with_debian(initrd.link("bin/sh", "busybox"), &["finit"])
}

/// systemd with nothing but the services: no journal, no udev, none of its own units.
fn systemd(services: usize, _: &Path) -> Made {
    let mut initrd = common(services)?.link("init", "lib/systemd/systemd");
    let names = (0..services).map(|number| (format!("svc{number}"), format!("/bin/svc{number}")));
    for (name, program) in names.chain([("zz-probe".to_owned(), "/bin/probe".to_owned())]) {
        let text = format!(
            "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart={program}\nRestart=always\n\
             StandardOutput=null\nStandardError=null\n"
        );
        initrd = initrd.file(&format!("etc/systemd/system/{name}.service"), 0o644, text).link(
            &format!("etc/systemd/system/default.target.wants/{name}.service"),
            &format!("../{name}.service"),
        );
    }
    let initrd = initrd
        .file("etc/systemd/system/default.target", 0o644, "[Unit]\nDefaultDependencies=no\n")
        .file("etc/machine-id", 0o644, "0123456789abcdef0123456789abcdef\n")
        .file("etc/os-release", 0o644, "ID=debian\nNAME=Debian\n")
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n")
        .file("etc/group", 0o644, "root:x:0:\n");
    with_debian(initrd, &["systemd"])
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
