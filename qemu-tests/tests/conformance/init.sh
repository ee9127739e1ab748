#!/conformance/busybox sh
# From the initramfs, which cannot be left by pivot_root, to a tmpfs with the same files.
b=/conformance/busybox
$b mkdir -p /proc /new
$b mount -t proc proc /proc
$b mount -t tmpfs -o mode=755 root /new
for d in *; do [ "$d" = new ] || [ "$d" = proc ] || $b cp -a "$d" /new/; done
read -r line </proc/cmdline
for w in $line; do case $w in conformance.init=*) init=${w#*=} ;; esac; done
for d in proc sys dev run tmp var/tmp var/lib var/cache var/log home/tester root srv opt boot mnt run/user; do $b mkdir -p /new/$d; done
$b chmod 1777 /new/tmp /new/var/tmp
echo x >/new/home/tester/file
echo x >/new/srv/file
echo x >/new/opt/file
$b chown -R 1000:1000 /new/home/tester
$b umount /proc
exec $b switch_root /new "$init"
