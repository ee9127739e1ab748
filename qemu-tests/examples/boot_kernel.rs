//! Boots a kernel with an initrd and prints what the console says until it powers off:
//! `cargo run -p qemu-tests --example boot_kernel -- VMLINUZ INITRD`.

use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(std::path::PathBuf::from);
    let (kernel, initrd) = (arguments.next().ok_or("which kernel?")?, arguments.next());
    let kernel = qemu_tests::kernel::for_direct_boot(&kernel, &std::env::temp_dir())?;
    let machine = qemu_tests::Machine::builder("example")
        .kernel(kernel, initrd.as_deref(), "console=ttyS0 panic=-1")
        .no_reboot()
        .start()?;
    machine.wait_for_shutdown()?;
    std::io::stdout().write_all(machine.console_text().as_bytes())?;
    Ok(())
}
