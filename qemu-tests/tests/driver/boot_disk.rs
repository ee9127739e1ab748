//! A disk that boots both ways, made by hand with Debian's tools: systemd-boot in the EFI system partition, GRUB in the
//! first sector and a BIOS boot partition; two menu entries with the same kernel and different command lines.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::parts::{bzimage, directory, host, initrd};

const SECTOR: u64 = 512;
const CORE: u64 = 2048;
const ESP: u64 = 4096;
const SECTORS: u64 = 260_000;

/// What both loaders offer, with a word of the kernel's command line that tells them apart.
pub(crate) const ENTRIES: [(&str, &str); 3] = [
    ("Third (Generation 3)", "gen=3"),
    ("Second (Generation 2)", "gen=2"),
    ("First (Generation 1)", "gen=1"),
];

/// Writes the disk.
pub(crate) fn make(name: &str) -> PathBuf {
    let disk = directory().join(name);
    qemu_tests::disk::create_raw(&disk, SECTORS * SECTOR).unwrap();
    let table = format!(
        "label: gpt\nstart={CORE}, size=2048, type=21686148-6449-6E6F-744E-656564454649\n\
         start={ESP}, size={}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n",
        SECTORS - ESP - 100
    );
    let script = directory().join(format!("{name}.sfdisk"));
    std::fs::write(&script, table).unwrap();
    let sfdisk = format!("sfdisk -q '{}' <'{}'", disk.display(), script.display());
    host(Command::new("sh").args(["-c", &sfdisk]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
    let kilobytes = ((SECTORS - ESP - 100) / 2).to_string();
    host(
        Command::new("/usr/sbin/mkfs.vfat")
            .args(["-F", "32", "--offset", &ESP.to_string()])
            .arg(&disk)
            .arg(kilobytes),
    );
    fill(&disk);
    grub(&disk);
    disk
}

fn fill(disk: &Path) {
    let volume = format!("{}@@{}", disk.display(), ESP * SECTOR);
    let tree = tempfile::tempdir_in(directory()).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = tree.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    put("EFI/BOOT/BOOTX64.EFI", &std::fs::read("/usr/lib/systemd/boot/efi/systemd-bootx64.efi").unwrap());
    put("loader/loader.conf", b"timeout 10\n");
    put("vmlinuz", &std::fs::read(bzimage()).unwrap());
    put("initrd", &std::fs::read(initrd()).unwrap());
    let mut menu = String::from(
        "serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\nset timeout=10\nset default=0\n",
    );
    for (title, word) in ENTRIES {
        let options = format!("console=ttyS0 quiet panic=-1 {word}");
        let entry = format!(
            "title {title}\nsort-key firn\nversion {word}\nlinux /vmlinuz\ninitrd /initrd\noptions {options}\n"
        );
        put(&format!("loader/entries/{word}.conf"), entry.as_bytes());
        menu.extend(["menuentry '", title, "' {\n linux /vmlinuz ", &options, "\n initrd /initrd\n}\n"]);
    }
    put("grub/grub.cfg", menu.as_bytes());
    let names = std::fs::read_dir(tree.path()).unwrap().map(|entry| entry.unwrap().path());
    host(Command::new("mcopy").args(["-s", "-i", &volume]).args(names).arg("::/"));
}

/// GRUB without grub-install: the core image in the BIOS boot partition, and the first sector that loads it.
fn grub(disk: &Path) {
    let core = directory().join("core.img");
    host(
        Command::new("grub-mkimage").args(["-O", "i386-pc", "-p", "(hd0,gpt2)/grub", "-o"]).arg(&core).args(
            [
                "biosdisk", "part_gpt", "fat", "linux", "normal", "serial", "terminal", "test", "echo",
                "reboot",
            ],
        ),
    );
    let mut core = std::fs::read(core).unwrap();
    // The list of blocks at the end of the core's first sector: where its rest lies.
    core[500..508].copy_from_slice(&(CORE + 1).to_le_bytes());
    let mut boot = std::fs::read("/usr/lib/grub/i386-pc/boot.img").unwrap();
    boot[0x5C..0x64].copy_from_slice(&CORE.to_le_bytes());
    boot[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    let mut file = std::fs::File::options().write(true).open(disk).unwrap();
    let mut write = |at: u64, bytes: &[u8]| {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    };
    // The disk's identity and partition table stay.
    write(0, &boot[..0x1B8]);
    write(CORE * SECTOR, &core);
}
