//! How long process 1 takes from the kernel's "Run /init" until the last of N services runs, and what it keeps in memory:
//! Firn beside others, on the same kernel, with the same services.
//!
//! The machine counts instructions (`-icount`, one a nanosecond), so a figure does not depend on how busy the host is:
//! 1 ms is a million instructions of kernel and programs together. Each init is booted several times, in turns. A service
//! is a program of 250 bytes that says its name to the kernel's log and waits; a last service, started like the others,
//! waits until all is quiet, prints the log's stamps and the memory of all processes but the services, and powers off.
//!
//! `cargo bench -p benches --bench boot -- [SERVICES…]`; `FIRN_DIST` is the distribution, `BOOTS` the number of boots.

#![expect(clippy::print_stdout, reason = "a report on the terminal")]

#[path = "boot/inits.rs"]
mod inits;
#[path = "boot/measure.rs"]
mod measure;
#[path = "boot/service.rs"]
mod service;

use std::error::Error;
use std::path::{Path, PathBuf};

use inits::Init;
use measure::Figures;

fn main() -> Result<(), Box<dyn Error>> {
    let counts: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![10, 200] } else { counts };
    let boots: usize = std::env::var("BOOTS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let wanted = std::env::var("INITS").unwrap_or_default();
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("boot");
    std::fs::create_dir_all(&directory)?;
    let kernel = qemu_tests::debian::cloud_kernel(&directory)?;
    let vmlinux = qemu_tests::kernel::for_direct_boot(&kernel.bzimage, &directory)?;

    println!(
        "# From \"Run /init\" to the last service, in millions of instructions (median of {boots} boots)\n"
    );
    println!("| services | init | first | last | least..most | processes | PSS KiB | of each |");
    println!("|---|---|---|---|---|---|---|---|");
    for services in counts {
        let inits: Vec<Init> = inits::all()
            .into_iter()
            .filter(|init| wanted.is_empty() || wanted.split(',').any(|name| name == init.name))
            .collect();
        let images: Vec<PathBuf> =
            inits.iter().map(|init| image(init, services, &directory)).collect::<Result<_, _>>()?;
        let mut figures = vec![Vec::<Figures>::new(); inits.len()];
        for _ in 0..boots {
            for ((init, image), figures) in inits.iter().zip(&images).zip(&mut figures) {
                figures.push(measure::boot(init, &vmlinux, image, services)?);
            }
        }
        for (init, figures) in inits.iter().zip(&mut figures) {
            print_row(init.name, services, figures);
        }
    }
    Ok(())
}

fn image(init: &Init, services: usize, directory: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let path = directory.join(format!("{}-{services}", init.name));
    (init.make)(services, directory)?.write(&path)?;
    Ok(path)
}

fn print_row(name: &str, services: usize, figures: &mut [Figures]) {
    figures.sort_by(|a, b| a.last.total_cmp(&b.last));
    let (Some(least), Some(most)) = (figures.first(), figures.last()) else { return };
    let Some(median) = figures.get(figures.len() / 2) else { return };
    let of_each: Vec<String> = median.pss_of_each.iter().take(3).map(f64::to_string).collect();
    println!(
        "| {services} | {name} | {:.1} | **{:.1}** | {:.1}..{:.1} | {} | {} | {} |",
        median.first,
        median.last,
        least.last,
        most.last,
        median.processes,
        median.pss,
        of_each.join(" + ")
    );
}
