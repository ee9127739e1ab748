//! Boots a raw disk by UEFI without changing it, chooses a menu entry and draws the menu:
//! `cargo run -p qemu-tests --example boot_menu -- DISK "Generation 1" MENU.svg`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [disk, entry, picture] = arguments.as_slice() else {
        return Err("usage: boot_menu DISK ENTRY PICTURE".into());
    };
    let machine = qemu_tests::Machine::builder("example")
        .memory_mib(1024)
        .disk(qemu_tests::Disk::overlay(disk))
        .uefi()
        .start()?;
    let menu = machine.select_menu_entry(entry)?;
    std::fs::write(picture, menu.to_svg())?;
    machine.wait_for_console("login:")?;
    Ok(())
}
