//! How long the supervisor takes: to start a service again that was killed, to end a machine whose services are willing,
//! and to load and order a graph of 2,000 units before the first of them starts.
//!
//! As in `boot`, the machine counts instructions (`-icount`, one a nanosecond): 1 ms is a million of them, kernel and
//! programs together, however busy the host is. `cargo bench -p benches --bench supervisor`; `FIRN_DIST` is the distribution.

#![expect(clippy::print_stdout, reason = "a report on the terminal")]

#[path = "boot/service.rs"]
mod service;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qemu_tests::initrd::Initrd;
use qemu_tests::{Accelerator, Machine};

/// How many services run when one is killed and the machine ends.
const SERVICES: usize = 10;
/// How many units are loaded and ordered.
const UNITS: usize = 2000;

/// Run by busybox's shell as the last service: kills service 0 five times, says when, and asks for the end of the machine.
const PROBE: &str = "#!/bin/busybox sh
b=/bin/busybox
$b sleep 5
for round in 1 2 3 4 5; do
    for p in /proc/[0-9]*; do read -r n <$p/comm; [ \"$n\" = svc0 ] && victim=${p#/proc/}; done
    echo kill >/dev/kmsg
    kill -9 $victim
    $b sleep 1
done
$b dmesg >/dev/console
$b sleep 30
# SIGRTMIN+4: power off, as systemd(1) has it. The marker is short, as the console is slow.
echo '<0>q' >/dev/kmsg
kill -38 1
";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("supervisor");
    std::fs::create_dir_all(&directory)?;
    let kernel = qemu_tests::debian::cloud_kernel(&directory)?;
    let vmlinux = qemu_tests::kernel::for_direct_boot(&kernel.bzimage, &directory)?;
    let text = boot(&vmlinux, &directory, 0)?;
    let stamps = |word: &str| -> Vec<f64> { text.lines().filter_map(|line| stamp(line, word)).collect() };
    let (kills, starts) = (stamps("kill"), stamps("svc 0"));
    let mut restarts: Vec<f64> =
        kills.iter().filter_map(|kill| Some(starts.iter().find(|start| *start > kill)? - kill)).collect();
    restarts.sort_by(f64::total_cmp);
    let (Some(asked), Some(off)) = (stamps("q").pop(), stamps("reboot: Power down").pop()) else {
        return Err(format!("the machine does not power off:\n{text}").into());
    };
    let &[least, _, median, _, most] = restarts.as_slice() else {
        return Err(format!("{} restarts instead of 5:\n{text}", restarts.len()).into());
    };
    println!("| what | ms, a million instructions each |");
    println!("|---|---|");
    println!("| a killed service runs again, no delay configured | {median:.1} ({least:.1}..{most:.1}) |");
    println!(
        "| power off with {SERVICES} willing services, to the kernel's last word | {:.1} |",
        off - asked
    );
    let first = |text: &str| -> Option<f64> {
        let find = |word| text.lines().find_map(|line| stamp(line, word));
        Some(find("svc 0")? - find("Run /init as init process")?)
    };
    let few = first(&text).ok_or("no first service")?;
    let text = boot(&vmlinux, &directory, UNITS)?;
    let many = first(&text).ok_or_else(|| format!("no first service in\n{text}"))?;
    println!("| from \"Run /init\" to the first service, {} units | {few:.1} |", SERVICES + 2);
    println!("| the same with {UNITS} units more to load and order | {many:.1} |");
    Ok(())
}

/// The time in ms at which the kernel's log has a line that ends so.
fn stamp(line: &str, word: &str) -> Option<f64> {
    let (time, said) = line.trim_start().strip_prefix('[')?.split_once("] ")?;
    said.trim_end().ends_with(word).then(|| Some(time.trim().parse::<f64>().ok()? * 1000.0)).flatten()
}

/// Boots once to the end; what the console said.
fn boot(vmlinux: &Path, directory: &Path, more: usize) -> Result<String, Box<dyn Error>> {
    let dist = std::env::var_os("FIRN_DIST")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist"), PathBuf::from);
    let mut definitions = serde_json::Map::new();
    let unit = |after: Vec<String>, wanted: &str, service: serde_json::Value| {
        serde_json::json!({ "sections": {
            "Unit": { "DefaultDependencies": ["no"], "After": after, "StartLimitIntervalSec": ["0"] },
            "Service": service,
            "Install": { "WantedBy": [wanted] },
        } })
    };
    let mut initrd = ["proc", "sys", "dev", "run", "tmp", "etc", "var"]
        .into_iter()
        .fold(Initrd::default(), Initrd::directory);
    for number in 0..SERVICES {
        let program = service::program(&format!("svc {number}\n"));
        initrd = initrd.file(&format!("bin/svc{number}"), 0o755, program);
        let service = serde_json::json!({
            "ExecStart": [format!("/bin/svc{number}")], "Restart": ["always"], "RestartSec": ["0"],
        });
        definitions.insert(format!("svc{number}.service"), unit(Vec::new(), "multi-user.target", service));
    }
    // A long way of units, each after the one before it, all wanted by the same target: the last thing that starts.
    for number in 0..more {
        let after = (number > 0).then(|| format!("more{}.service", number - 1));
        let after = after.into_iter().chain(["svc0.service".to_owned()]).collect();
        let service = serde_json::json!({ "ExecStart": ["/bin/svc1"], "Type": ["oneshot"] });
        definitions.insert(format!("more{number}.service"), unit(after, "multi-user.target", service));
    }
    let probe = serde_json::json!({ "ExecStart": ["/bin/probe"] });
    definitions.insert("zz-probe.service".to_owned(), unit(Vec::new(), "multi-user.target", probe));
    definitions.insert("multi-user.target".to_owned(), serde_json::json!({}));
    let input = serde_json::from_value(serde_json::json!({ "units": definitions }))?;
    let graph = directory.join("services.graph");
    std::fs::write(&graph, units::compile::compile(&input)?)?;
    let image = directory.join("initrd");
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists());
    let busybox = busybox.ok_or("no busybox: install the Debian package busybox-static")?;
    initrd
        .file("bin/probe", 0o755, PROBE)
        .program("bin/busybox", busybox)?
        .program("init", &dist.join("bin/firn-init"))?
        .program("services.graph", &graph)?
        .write(&image)?;
    let machine = Machine::builder("bench-supervisor")
        .memory_mib(1024)
        .no_reboot()
        .accelerator(Accelerator::Tcg)
        .argument("-icount")
        .argument("shift=0,sleep=off")
        .limit(Duration::from_secs(600))
        .kernel(
            vmlinux,
            Some(&image),
            "console=ttyS0 quiet printk.devkmsg=on log_buf_len=1M panic=-1 printk.time=1",
        )
        .start()?;
    machine.wait_for_shutdown()?;
    // What the kernel says before is only in the way.
    let text = machine.console_text();
    Ok(text
        .find("Run /init as init")
        .and_then(|at| text.get(at.saturating_sub(20)..))
        .unwrap_or(&text)
        .to_owned())
}
