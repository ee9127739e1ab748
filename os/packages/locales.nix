# The C library's languages, compiled from Debian's sources of them, under nixpkgs' name and with its arguments:
# `locales` are lines of glibc's SUPPORTED with a `/` for the blank (`de_DE.UTF-8/UTF-8`); the character set may be left out.
{ lib }:
final: _:
{
  glibcLocales = lib.makeOverridable
    ({ allLocales ? true, locales ? [ ] }:
      final.runCommandLocal "glibc-locales-${final.libc-bin.version}"
        {
          sources = "${final.locales}/share/i18n";
          c = "${final.libc-bin}/lib/locale";
          localedef = "${final.libc-bin}/bin/localedef";
          wanted = if allLocales then "all" else lib.concatStringsSep " " (lib.unique locales);
          nativeBuildInputs = [ final.gzip ];
        } ''
        # As Debian's list has it; the one that is built into the library needs no source.
        entry() {
          sed -n "s|^\($1\) \($2\)\$|\1/\2|p" "$sources/SUPPORTED" | head -n 1
        }
        mkdir -p "$out/lib/locale" "$out/usr/lib/locale"
        cp -r "$c"/. "$out/lib/locale/"
        export I18NPATH="$sources"
        [ "$wanted" != all ] || wanted=$(sed -n 's|^\([^ #][^ ]*\) \(..*\)$|\1/\2|p' "$sources/SUPPORTED")
        for want in $wanted; do
          name=''${want%%/*} charset=
          [ "$want" = "$name" ] || charset=''${want#*/}
          case $name in C | C.* | POSIX) continue ;; esac
          pattern=$(echo "$name" | sed 's|\.utf-\{0,1\}8|.UTF-8|I; s|\.|\\.|g')
          found=$(entry "$pattern" "''${charset:-.*}")
          [ -n "$found" ] || found=$(entry "$pattern\\.UTF-8" "UTF-8")
          if [ -z "$found" ]; then
            near=$(sed -n "s|^\(''${name%%[_.@]*}_[^ ]*\) \(.*\)|\1/\2|p" "$sources/SUPPORTED" | tr '\n' ' ')
            echo "i18n: the C library knows no language $want; ''${near:+it knows }''${near:-its names are those in nixpkgs and Debian: en_GB.UTF-8, de_DE.UTF-8, …}" >&2
            exit 1
          fi
          name=''${found%/*} charset=''${found#*/}
          source=''${name%%[.@]*}
          case $name in *@*) source=$source@''${name##*@} ;; esac
          "$localedef" -c -i "$source" -f "$charset" --prefix="$out" "$name"
        done
        [ ! -e "$out/usr/lib/locale/locale-archive" ] || mv "$out/usr/lib/locale/locale-archive" "$out/lib/locale/"
        rm -r "$out/usr"
      '')
    { };
}
