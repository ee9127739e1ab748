#!/conformance/busybox sh
# Runs all cases in the machine, the same commands on either side, and says on the console what was seen.
export PATH=/conformance/bin:/usr/bin:/bin
exec </dev/null >/conformance/driver.log 2>&1
cd /conformance
mkdir -p out ns marks seen
# What a booted system of either kind has, and these few units do not bring.
[ -d /firn ] && ln -s /firn /run/current-system
hostname conformance
ifconfig lo up
mkdir -p /run/user /dev/mqueue /run/state
grep -q ' /dev/mqueue ' /proc/mounts || mount -t mqueue mqueue /dev/mqueue
for p in /tmp /var/tmp /root /run/user; do echo x >"$p/outside"; done
for n in mnt net ipc pid user uts cgroup; do readlink /proc/1/ns/$n >ns/$n; done
ask="Id,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts"
# A few at a time, so that one that hangs keeps no other from being seen.
batch() {
    timeout 60 systemctl start "$@" >/dev/null 2>&1
    cd out
    { echo; head -n 1000 /dev/null *; echo "@@ states"; systemctl show -p $ask "$@" | sed 's/^$/==/'; echo "@@."; } >/dev/ttyS0 2>/dev/null
    rm -f *
    cd ..
}
set --
while read -r unit; do
    set -- "$@" "$unit"
    [ $# = 8 ] && { batch "$@"; set --; }
done <probes
[ $# = 0 ] || batch "$@"
# Scenarios, several at a time: most of their time they wait.
scenario() {
    case=$1
    : >"marks/$case"
    timeout 300 sh -c "case=$case; . ./functions; . ./cases/$case" >"seen/$case" 2>&1 || echo "the scenario ended with $?" >>"seen/$case"
}
lane() {
    number=0
    for file in cases/*; do
        [ $((number % 3)) = "$1" ] && scenario "${file#cases/}"
        number=$((number + 1))
    done
}
lane 0 & zero=$!
lane 1 & one=$!
lane 2
wait $zero $one
for file in cases/*; do
    case=${file#cases/}
    { echo; echo "@@ case.$case"; cat "seen/$case"; echo; } >/dev/ttyS0
done
{ echo; echo "@@ driver.log"; cat driver.log; echo; echo "@@end"; } >/dev/ttyS0
sync
poweroff -f
