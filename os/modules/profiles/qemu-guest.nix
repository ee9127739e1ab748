# For machines that run in QEMU: virtio drivers early.
{ lib, ... }:
{
  boot.initrd.availableKernelModules = [ "virtio_net" "virtio_pci" "virtio_mmio" "virtio_blk" "virtio_scsi" "9p" "9pnet_virtio" ];
  boot.initrd.kernelModules = [ ];
  boot.kernelModules = [ "virtio_net" "virtio_balloon" "virtio_console" "virtio_rng" ];
}
