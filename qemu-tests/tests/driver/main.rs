//! The driver against machines that have nothing of Firn but the agent: Debian's cloud kernel, busybox, and boot
//! partitions made by hand. What fails here is the driver's fault.

mod direct;
mod parts;
