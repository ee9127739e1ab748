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
