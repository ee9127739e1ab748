//! From generations to boot menus (systemd-boot, GRUB); initrds and disk images.
