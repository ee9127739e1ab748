#!/conformance/busybox sh
# What a process sees of itself, as lines of `key value`. Arguments are commands to try; each one's exit status is told.
b=/conformance/busybox
export PATH=/conformance/bin:$PATH
self=/proc/$$
while IFS=: read -r k v; do
    case $k in
    Uid | Gid | Groups | Cap* | NoNewPrivs | Seccomp | Umask | SigIgn | SigBlk | Cpus_allowed_list) echo "status.$k" $v ;;
    esac
done <$self/status
while read -r line; do
    case $line in Limit*) ;; *) echo "limit.${line%%  *}" $(echo "${line#*  }") ;; esac
done <$self/limits
read -r stat <$self/stat
nice() { shift 18; echo "nice $1"; shift 21; echo "priority $1"; echo "policy $2"; }
nice $stat
for f in oom_score_adj timerslack_ns coredump_filter personality; do
    read -r v <$self/$f 2>/dev/null && echo "$f $v"
done
echo "ionice $($b ionice)"
read -r v <$self/cgroup && echo "cgroup $v"
# Links of /proc as `name target`.
links() {
    $b ls -ld "$@" 2>/dev/null | while read -r line; do
        link=${line%% -> *}
        echo "${link##*/} ${line##* -> }"
    done
}
links $self/cwd $self/root
links $self/ns/* | while read -r n v; do
    case $n in mnt | net | ipc | pid | user | uts | cgroup) ;; *) continue ;; esac
    read -r there <"/conformance/ns/$n"
    [ "$v" = "$there" ] && echo "namespace.$n shared" || echo "namespace.$n own"
done
$b tr '\0' '\n' <$self/environ | $b sort | while IFS='=' read -r k v; do
    [ "$v" = $$ ] && v=self
    echo "environment.$k $v"
done
links $self/fd/[0-7] | while read -r n v; do echo "descriptor.$n $v"; done
for p in / /usr /etc /etc/fstab /home /home/tester /home/tester/file /root /run /run/user /boot /tmp /var/tmp /var/lib /srv /opt /srv/file \
    /proc/sys /proc/sys/kernel/hostname /proc/kmsg /proc/kallsyms /proc/1 /proc/meminfo /sys /sys/kernel /sys/fs/cgroup \
    /dev/kmsg /dev/mem /dev/null /dev/rtc0 /dev/ttyS0 /dev/shm /dev/mqueue /lib/modules; do
    s=
    for t in e r w x; do [ -$t "$p" ] && s=$s$t; done
    echo "path.$p $s"
done
for p in /home /root /tmp /var/tmp /run/user /opt; do set_() { echo "entries.$p $#"; }; set_ "$p"/*; done
[ -e /dev/kmsg ] || (cd /dev && echo "devices" *)
for k in RUNTIME STATE CACHE LOGS CONFIGURATION; do
    eval "v=\$${k}_DIRECTORY"
    IFS=:
    for d in $v; do
        unset IFS
        echo "directory.$d $($b stat -c '%a %u %g %F' "$d")"
        [ -h "$d" ] && echo "link.$d $($b readlink "$d")"
        (echo x >"$d/written") 2>/dev/null && echo "writable.$d yes"
    done
    unset IFS
done
[ -n "$CREDENTIALS_DIRECTORY" ] && for f in "$CREDENTIALS_DIRECTORY"/*; do
    echo "credential.${f##*/} $($b stat -c '%a %u' "$f") $($b cat "$f")"
done
names=
while read -r k v; do case $k in *:) names="$names $k" ;; esac; done <$self/net/dev
echo "interfaces$names"
echo "hostname $($b hostname)"
number=0
for try; do
    number=$((number + 1))
    $b timeout 5 $b sh -c "$try" >/dev/null 2>&1
    echo "try.$number $?"
done
exit 0
