# The commands by which people and scripts end a machine: poweroff(8), reboot(8), halt(8), shutdown(8), said to Firn.
{ pkgs, ... }:
let
  command = name: text: pkgs.writeShellScriptBin name text;
in
{
  environment.systemPackages = [
    (command "poweroff" "exec ${pkgs.firn}/bin/firn poweroff\n")
    (command "halt" "exec ${pkgs.firn}/bin/firn poweroff\n")
    (command "reboot" "exec ${pkgs.firn}/bin/firn reboot\n")
    # `shutdown [-h|-P|-r] [now]`; times and messages are not taken.
    (command "shutdown" ''
      what=poweroff
      for word in "$@"; do
        case "$word" in
          -r|--reboot) what=reboot ;;
          -h|-H|-P|--poweroff|--halt|now|+0) ;;
          *) echo "shutdown: \`$word' is not understood; write: shutdown [-h|-r] now" >&2; exit 2 ;;
        esac
      done
      exec ${pkgs.firn}/bin/firn "$what"
    '')
  ];
}
