#!/conformance/busybox sh
# Runs all cases in the machine, the same commands on either side, and says on the console what was seen.
export PATH=/conformance/bin:/usr/bin:/bin
exec </dev/null >/conformance/driver.log 2>&1
cd /conformance
mkdir -p out ns marks
for n in mnt net ipc pid user uts cgroup; do readlink /proc/1/ns/$n >ns/$n; done
ask="Id,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts"
echo "@@progress probes" >/dev/ttyS0
systemctl start probes.target
for u in $(cat probes); do echo "== $u"; systemctl show -p ${ask#Id,} "$u"; done >out/states &
wait
# What the scenarios are written with.
mark() { echo "$*" >>"/conformance/marks/$case"; }
show() { for u; do echo "$u" $(systemctl show -p ActiveState,SubState,Result --value "$u.service"); done; }
state() { for u; do echo "$u" $(systemctl show -p ActiveState,SubState --value "$u"); done; }
restarts() { echo "$1 restarts $(systemctl show -p NRestarts --value "$1.service")"; }
code() { echo "$1 exit $(systemctl show -p ExecMainCode,ExecMainStatus --value "$1.service" | tr '\n' ' ')"; }
pid() { systemctl show -p MainPID --value "$1.service"; }
run() { systemctl "$@" >/dev/null 2>&1; echo "$* -> $?"; }
# Waits until a command's output says it, ten seconds at most.
until_() { i=0; while [ $i -lt 50 ] && ! "$@" >/dev/null 2>&1; do usleep 200000; i=$((i + 1)); done; [ $i -lt 50 ] || echo "in vain: $*"; }
is() { [ "$(systemctl show -p ActiveState --value "$1")" = "$2" ]; }
sub() { [ "$(systemctl show -p SubState --value "$1")" = "$2" ]; }
marked() { [ "$(wc -l <"/conformance/marks/$case")" -ge "$1" ]; }
marks() { echo "marks" $(cat "/conformance/marks/$case"); }
sorted() { echo "marks sorted" $(sort "/conformance/marks/$case"); }
for file in cases/*; do
    case=${file#cases/}
    : >"marks/$case"
    echo "@@progress $case" >/dev/ttyS0
    (. "./$file") >"out/case.$case" 2>&1
done
(
    for f in out/*; do
        echo "@@ ${f#out/}"
        cat "$f"
        echo
    done
    echo "@@ driver"
    cat driver.log
    echo "@@end"
) >/dev/ttyS0
sync
poweroff -f
