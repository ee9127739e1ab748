# `makeWrapper` and `wrapProgram`, as programs to name in `nativeBuildInputs`. They take nixpkgs' flags: --set, --set-default,
# --unset, --prefix, --suffix, --add-flags, --append-flags, --run, --chdir, --argv0, --inherit-argv0.
{ lib, pkgs }:
let
  script = pkgs.writeTextFile {
    name = "make-wrapper";
    executable = true;
    destination = "/bin/makeWrapper";
    text = ''
      #!${pkgs.bash}/bin/bash
      set -euo pipefail
      original=$1
      wrapper=$2
      shift 2
      body=
      before=
      after=
      name=
      quote() { printf '%q' "$1"; }
      add() { body+="$1"$'\n'; }
      # A value at one end of a list variable, unless it is in it.
      join() {
        local variable=$1 separator; separator=$(quote "$2")
        local value; value=$(quote "$3")
        if [ "$4" = prefix ]; then add "export $variable=$value\''${$variable:+$separator\$$variable}"
        else add "export $variable=\''${$variable:+\$$variable$separator}$value"; fi
      }
      while [ $# -gt 0 ]; do
        case $1 in
          --set) add "export $2=$(quote "$3")"; shift 3 ;;
          --set-default) add "export $2=\''${$2-$(quote "$3")}"; shift 3 ;;
          --unset) add "unset $2"; shift 2 ;;
          --prefix) join "$2" "$3" "$4" prefix; shift 4 ;;
          --suffix) join "$2" "$3" "$4" suffix; shift 4 ;;
          --run) add "$2"; shift 2 ;;
          --chdir) add "cd $(quote "$2")"; shift 2 ;;
          --add-flags) before+=" $2"; shift 2 ;;
          --add-flag) before+=" $(quote "$2")"; shift 2 ;;
          --append-flags) after+=" $2"; shift 2 ;;
          --append-flag) after+=" $(quote "$2")"; shift 2 ;;
          --argv0) name="-a $(quote "$2") "; shift 2 ;;
          --inherit-argv0) name='-a "$0" '; shift ;;
          *) echo "makeWrapper: there is no flag $1" >&2; exit 1 ;;
        esac
      done
      mkdir -p "$(dirname "$wrapper")"
      printf '%s\n%s' "#!${pkgs.bash}/bin/bash -e" "$body" > "$wrapper"
      printf 'exec %s%s%s "$@"%s\n' "$name" "$(quote "$original")" "$before" "$after" >> "$wrapper"
      chmod 755 "$wrapper"
    '';
  };
in
{
  makeWrapper = pkgs.symlinkJoin {
    name = "make-wrapper-tools";
    paths = [
      script
      (pkgs.writeShellScriptBin "wrapProgram" ''
        set -euo pipefail
        program=$1
        shift
        hidden=$(dirname "$program")/.$(basename "$program")-wrapped
        while [ -e "$hidden" ]; do hidden=''${hidden}_; done
        mv "$program" "$hidden"
        exec ${script}/bin/makeWrapper "$hidden" "$program" --inherit-argv0 "$@"
      '')
    ];
  };
  makeBinaryWrapper = pkgs.makeWrapper;

  # Packages with programs of theirs wrapped: `wrapped { name; package; programs = { git = [ "--set" "X" "y" ]; }; }`. The
  # rest is links to the package.
  wrapped = { package, programs, name ? package.name, ... }@arguments:
    let
      flags = lib.concatStrings (lib.mapAttrsToList
        (program: flags: ''
          rm -f "$out/bin/${program}"
          ${script}/bin/makeWrapper "$package/bin/${program}" "$out/bin/${program}" --inherit-argv0 ${lib.escapeShellArgs flags}
        '')
        programs);
    in
    pkgs.runCommandLocal name
      {
        package = "${package}";
        meta = package.meta or { };
        passthru = { unwrapped = package; inherit (package) version pname; } // package.passthru or { } // arguments.passthru or { };
      } ''
      mkdir -p "$out/bin"
      for entry in "$package"/*; do
        if [ "$(basename "$entry")" != bin ]; then ln -s "$entry" "$out/"; fi
      done
      for entry in "$package"/bin/*; do ln -s "$entry" "$out/bin/"; done
      ${flags}
    '';
}
