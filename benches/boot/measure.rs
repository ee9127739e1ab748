//! One boot: what the probe printed, as figures.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use qemu_tests::{Accelerator, Machine};

use crate::inits::Init;

/// What the probe, the last service, runs by busybox's shell.
pub(crate) const PROBE: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b sleep 20
exec >/dev/console 2>&1
$b dmesg | $b awk '
    { split($0, half, /[][]/); at = half[2] * 1000 }
    / as init process/ { begun = at }
    / svc [0-9]/ { if (!services++) first = at; last = at }
    END { print "services", services, first - begun, last - begun }'
for p in /proc/[0-9]*; do
    n=$($b cat $p/comm); c=$($b tr '\0' ' ' <$p/cmdline)
    case "$c" in ''|/bin/svc*|*probe*|*sleep*) continue ;; esac
    $b awk -v n="$n" -v p="${p#/proc/}" '/^Pss:/ { print "memory", p, n, $2 }' $p/smaps_rollup
done
echo probe: done
$b poweroff -f
"#;

/// The figures of a boot.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Until the first service ran, in ms.
    pub(crate) first: f64,
    /// Until the last one ran.
    pub(crate) last: f64,
    /// Processes beside the services.
    pub(crate) processes: usize,
    /// Their memory, shared pages in shares.
    pub(crate) pss: f64,
    /// Of it, that of each process, process 1 first.
    pub(crate) pss_of_each: Vec<f64>,
}

/// Boots an init's image once.
pub(crate) fn boot(
    init: &Init,
    vmlinux: &Path,
    image: &Path,
    services: usize,
) -> Result<Figures, Box<dyn Error>> {
    let machine = Machine::builder(format!("bench-{}", init.name))
        .memory_mib(1024)
        .no_reboot()
        .accelerator(Accelerator::Tcg)
        .argument("-icount")
        .argument("shift=0,sleep=off")
        .limit(Duration::from_secs(600))
        .kernel(
            vmlinux,
            Some(image),
            &format!("console=ttyS0 quiet printk.devkmsg=on log_buf_len=1M panic=-1 {}", init.words),
        )
        .start()?;
    machine.wait_for_console("probe: done")?;
    machine.wait_for_shutdown()?;
    let text = machine.console_text();
    figures(&text, services).map_err(|error| format!("{}: {error} in\n{text}", init.name).into())
}

fn figures(text: &str, services: usize) -> Result<Figures, String> {
    let words =
        |tag: &'static str| text.lines().filter_map(move |line| line.trim().strip_prefix(tag).map(numbers));
    let stamps = words("services ").next().ok_or("no figures")?;
    let &[started, first, last] = stamps.as_slice() else { return Err("figures of another kind".to_owned()) };
    if started as usize != services {
        return Err(format!("{started} services instead of {services}"));
    }
    let mut memory: Vec<(f64, f64)> =
        words("memory ").filter_map(|numbers| Some((*numbers.first()?, *numbers.last()?))).collect();
    memory.sort_by(|one, other| one.0.total_cmp(&other.0));
    Ok(Figures {
        first,
        last,
        processes: memory.len(),
        pss: memory.iter().map(|(_, pss)| pss).sum(),
        pss_of_each: memory.iter().map(|(_, pss)| *pss).collect(),
    })
}

/// The numbers of a line, without its words.
fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}
