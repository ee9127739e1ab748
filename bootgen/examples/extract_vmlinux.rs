//! Takes `vmlinux` out of a bzImage: `extract_vmlinux BZIMAGE VMLINUX`.

use bootgen::kernel_image::vmlinux;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("extract_vmlinux BZIMAGE VMLINUX".into());
    };
    std::fs::write(to, vmlinux(&std::fs::read(from)?)?)?;
    Ok(())
}
