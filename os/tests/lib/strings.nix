# lib.strings.
{ lib }:
with lib;
let try = e: (builtins.tryEval (builtins.deepSeq e e)); in
{
  concat = [ (concatStrings [ "a" "b" ]) (concatMapStrings (x: "a" + x) [ "f" "b" ]) (concatImapStrings (i: x: "${toString i}-${x}") [ "f" "b" ]) (concatMapStringsSep "-" toUpper [ "a" "b" ]) (concatImapStringsSep "-" (i: x: x + toString i) [ "a" "b" ]) (concatLines [ "a" "b" ]) (concatMapAttrsStringSep "\n" (n: v: "${n}: f${v}") { a = "0"; b = "1"; }) (intersperse "/" [ "usr" "bin" ]) (intersperse 1 [ ]) ];
  search = [ (makeSearchPath "bin" [ "/root" "/usr" ]) (makeBinPath [ "/a" "/b" ]) (makeLibraryPath [ "/a" ]) (makeSearchPath "x" [ ]) ];
  tests = [ (hasPrefix "foo" "foobar") (hasPrefix "foo" "barfoo") (hasSuffix "foo" "barfoo") (hasSuffix "foobarlong" "foo") (hasInfix "bc" "abcd") (hasInfix "." "abcd") (hasInfix "a.c" "xa.cx") ];
  posix = map strings.isValidPosixName [ "a" "_1" "1a" "a-b" "" ];
  remove = [ (removePrefix "foo." "foo.bar.baz") (removePrefix "xxx" "foo") (removeSuffix "front" "homefront") (removeSuffix "xxx" "foo") ];
  split = [ (splitString "." "foo.bar.baz") (splitString "/" "/usr/local/bin") (splitString "|" "a|b") (splitString "." "") (splitString "ab" "xabyab") ];
  splitBy = [ (splitStringBy (p: c: elem c [ "." "-" ]) false "foo.bar-baz") (splitStringBy (p: c: elem c [ "." ]) true "a.b") (splitStringBy (p: c: true) false "") ];
  trim = [ (trim "   hello, world!   ") (trimWith { start = true; } "  a ") (trimWith { end = true; } "  a ") (trim "\t\r\n") (trim "") (trim "a") ];
  chars = [ (stringToCharacters "abc") (stringToCharacters "") (stringAsChars (x: if x == "a" then "i" else x) "nax") ];
  case = [ (toLower "HOME") (toUpper "home") (toSentenceCase "hELLO") (toCamelCase "hello-world foo_bar") (toCamelCase "helloWorld") (toCamelCase "") ];
  escape = [ (escape [ "(" ")" ] "(foo)") (escapeShellArg "esc'ape\nme") (escapeShellArg "plain-1.0/x") (escapeShellArgs [ "one" "two three" "four'five" ]) (strings.escapeNixString "hello\${}\n\"") (escapeRegex "[^a-z]*") (strings.escapeNixIdentifier "hello") (strings.escapeNixIdentifier "0abc") (strings.escapeNixIdentifier "let") (escapeXML "\"test\" 'test' < & >") (strings.escapeC [ " " ";" ] "a b;c") (escapeURL "https://example.com/foo bar?a=b&c=ä") ];
  shellVar = [ (toShellVar "foo" "some string") (toShellVar "a" [ "x" "y z" ]) (toShellVar "m" { a = "b c"; d = "e"; }) (toShellVars { a = 1; b = "x y"; }) ];
  names = [ (getName "youtube-dl-2016.01.01") (getName { pname = "x"; name = "y-1"; }) (getVersion "youtube-dl-2016.01.01") (nameFromURL "https://nixos.org/releases/nix/nix-1.7/nix-1.7-x86_64-linux.tar.bz2" "-") (strings.sanitizeDerivationName "../hello.bar # foo") (strings.sanitizeDerivationName "") ];
  versions = [ (versionOlder "1.1" "1.2") (versionOlder "1.1" "1.1") (versionAtLeast "1.1" "1.0") (versions.major "1.2.3") (versions.minor "1.2.3") (versions.patch "1.2.3") (versions.majorMinor "1.2.3") (versions.pad 3 "1.2") (versions.pad 2 "1.2.3-rc") (versions.pad 3 "1.2-rc1") ];
  flags = [ (cmakeBool "ENABLE" true) (cmakeFeature "MODULES" "b;s") (mesonBool "x" false) (mesonEnable "x" true) (mesonOption "e" "u") (enableFeature true "s") (enableFeatureAs true "s" "foo") (enableFeatureAs false "s" "foo") (withFeature false "x") (withFeatureAs true "x" "y") ];
  width = [ (fixedWidthString 5 "0" "15") (fixedWidthNumber 5 15) (try (fixedWidthString 1 "0" "15")).success ];
  ints = [ (toInt "1337") (toInt " -4 ") (toInt " 123 ") (try (toInt "00024")).success (try (toInt "x")).success (toIntBase10 "0024") (toIntBase10 "-0") (toIntBase10 "000") ];
  norm = [ (strings.normalizePath "/a//b///c/") (strings.levenshtein "kitten" "sitting") (strings.levenshtein "" "abc") (strings.commonPrefixLength "foobar" "foobaz") (strings.commonSuffixLength "xfoo" "yfoo") ];
  replicate = [ (strings.replicate 3 "v") (replaceString "a" "b" "banana") (optionalString true "x") (optionalString false "x") (strings.floatToString 0.5) ];
  str = map isStringLike [ "a" ./. { outPath = ""; } { __toString = x: ""; } 1 [ ] ];
  conv = map strings.isConvertibleWithToString [ "a" 1 null true [ 1 "a" ] { } ];
  store = map isStorePath [ "${builtins.storeDir}/d945ibfx9x185xf04b890y4f9g3cbb63-python" "${builtins.storeDir}/d945ibfx9x185xf04b890y4f9g3cbb63-python/bin" "/x" [ ] 42 ];
}
