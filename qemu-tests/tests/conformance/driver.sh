#!/conformance/busybox sh
# Runs all cases in the machine, the same commands on either side, and says on the console what was seen.
export PATH=/conformance/bin:/usr/bin:/bin
exec </dev/null >/conformance/driver.log 2>&1
cd /conformance
mkdir -p out ns marks
# What an activation makes on Firn.
[ -d /firn ] && ln -s /firn /run/current-system
for n in mnt net ipc pid user uts cgroup; do readlink /proc/1/ns/$n >ns/$n; done
ask="Id,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts"
echo "@@progress probes" >/dev/ttyS0
(while sleep 10; do echo "@@progress $(ls out | wc -l) probes" >/dev/ttyS0; done) &
progress=$!
timeout 75 systemctl start probes.target || echo "probes.target: $?"
kill $progress
systemctl show -p $ask $(cat probes) | sed 's/^$/==/' >out/states
# Files that were written, as the test reads them.
say() {
    for f; do
        echo "@@ ${f#out/}"
        cat "$f"
        echo
    done >/dev/ttyS0
}
say out/* driver.log
for file in cases/*; do
    case=${file#cases/}
    : >"marks/$case"
    # One that hangs is one difference.
    timeout 60 sh -c "case=$case; . ./functions; . ./$file" >"out/case.$case" 2>&1
    say "out/case.$case"
done
say driver.log
echo "@@end" >/dev/ttyS0
sync
poweroff -f
