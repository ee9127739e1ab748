//! The driver against machines that have nothing of Firn but the agent: Debian's cloud kernel, busybox, and boot
//! partitions made by hand. What fails here is the driver's fault.

#[cfg(test)]
mod boot_disk;
#[cfg(test)]
mod direct;
#[cfg(test)]
mod menus;
#[cfg(test)]
mod parts;
