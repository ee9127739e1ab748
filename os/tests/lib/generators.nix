# lib.generators and lib.cli.
{ lib }:
with lib; with lib.generators;
let v = { a = 1; b = "x\"y"; c = [ 1 "two" [ ] { } ]; d = { e = null; f = true; "g h" = 1.5; }; l = "one\ntwo \${x}\n"; p = /a/b; fn = x: x; fa = { a, b ? 1 }: a; }; in
{
  keyValue = [ (toKeyValue { } { a = 1; b = "x"; c = true; d = null; }) (toKeyValue { listsAsDuplicateKeys = true; } { a = [ 1 2 ]; }) (toKeyValue { mkKeyValue = mkKeyValueDefault { } ":"; indent = "  "; } { "a:b" = 1; }) ];
  ini = [ (toINI { } { foo = { hi = "${"a"}"; ciao = "bar"; }; baz = { "also, integers" = 42; }; }) (toINI { listsAsDuplicateKeys = true; } { "[x]" = { a = [ "1" "2" ]; }; }) ];
  iniGlobal = toINIWithGlobalSection { } { globalSection = { someGlobalKey = "hi"; }; sections = { foo = { ciao = "bar"; }; }; };
  git = toGitINI { url."ssh://git@github.com/".insteadOf = "https://github.com/"; user.name = "A \"B\""; core.x = true; };
  plist = toPlist { escape = true; } { a = 1; b = [ "<x>" true ]; c = { d = null; e = 1.5; }; };
  lua = [ (toLua { } { cmd = [ "typescript" "--stdio" ]; settings.opt = mkLuaInline "f(1)"; x = null; }) (toLua { multiline = false; } { a = [ 1 2 ]; }) (toLua { asBindings = true; } { a = 1; b = [ ]; }) ];
  pretty = [ (toPretty { } v) (toPretty { multiline = false; } v) (toPretty { } [ ]) (toPretty { } { }) (toPretty { allowPrettyValues = true; } { x = { __pretty = val: "<${toString val}>"; val = 3; }; }) ];
  dhall = toDhall { } { a = 1; b = [ true "x" ]; };
  yaml = toYAML { } { a = 1; };
  cli = [ (cli.toGNUCommandLine { } { data = builtins.toJSON { id = 0; }; X = "PUT"; retry = 3; retry-delay = null; url = [ "https://a" "https://b" ]; silent = false; verbose = true; }) (cli.toGNUCommandLineShell { optionValueSeparator = "="; } { a = "x y"; bc = 1; }) ];
}
