# Writes down what a builder's shell has once it has read the derivation's setup; see develop.rs for the format.
export IN_NIX_SHELL=impure
export dontAddDisableDepTrack=1
if [ -n "${NIX_ATTRS_SH_FILE:-}" ] && [ -e "$NIX_ATTRS_SH_FILE" ]; then
  . "$NIX_ATTRS_SH_FILE"
elif [ -e .attrs.sh ]; then
  . .attrs.sh
fi
if [ -n "${stdenv:-}" ] && [ -e "$stdenv/setup" ]; then
  set -e
  . "$stdenv/setup"
fi

__firn_record() {
  local __name __kind __attributes __key
  for __name in $(compgen -A variable); do
    case $__name in
      __*|_|BASH|BASH_*|BASHOPTS|BASHPID|COMP_*|DIRSTACK|EPOCH*|EUID|FUNCNAME|GROUPS|HISTCMD|IFS|LINENO|OPT*|PIPESTATUS|PPID|PS4|RANDOM|SECONDS|SHELLOPTS|SRANDOM|UID) continue ;;
    esac
    __attributes=${!__name@a}
    [ -n "$__attributes" ] || __attributes=$(declare -p "$__name" 2>/dev/null | { read -r _ __kind _; echo "${__kind#-}"; })
    case $__attributes in
      *A*)
        declare -n __reference=$__name
        printf 'associative\0%s\0%s\0' "$__name" "${#__reference[@]}"
        for __key in "${!__reference[@]}"; do printf '%s\0%s\0' "$__key" "${__reference[$__key]}"; done
        unset -n __reference
        ;;
      *a*)
        declare -n __reference=$__name
        printf 'array\0%s\0%s\0' "$__name" "${#__reference[@]}"
        for __key in "${!__reference[@]}"; do printf '%s\0' "${__reference[$__key]}"; done
        unset -n __reference
        ;;
      *x*) printf 'exported\0%s\0%s\0' "$__name" "${!__name}" ;;
      *) printf 'var\0%s\0%s\0' "$__name" "${!__name}" ;;
    esac
  done
  for __name in $(compgen -A function); do
    case $__name in __firn_record) continue ;; esac
    printf 'function\0%s\0%s\0' "$__name" "$(declare -f "$__name")"
  done
}
set +eu

# All outputs must be there; the first one holds the text.
__first=1
if [[ $(declare -p outputs 2>/dev/null) == 'declare -A'* ]]; then
  __places=("${outputs[@]}")
else
  __places=()
  for __output in ${outputs:-out}; do __places+=("${!__output}"); done
fi
for __place in "${__places[@]}"; do
  if [ -n "$__first" ]; then __firn_record >"$__place"; __first=; else : >"$__place"; fi
done
