# lib.trivial, fixed points, customisation, assertions, text with dependencies.
{ lib }:
with lib;
let try = e: (builtins.tryEval (builtins.deepSeq e e)); in
{
  logic = [ (xor true false) (and true false) (boolToString true) (boolToYesNo false) (id 1) (const 1 2) (flip (a: b: a - b) 1 3) (pipe 2 [ (x: x + 2) (x: x * 2) ]) (mapNullable (x: x + 1) null) (mapNullable (x: x + 1) 1) (defaultTo "d" null) ];
  nums = [ (min 1 2) (max 1 2) (mod 11 10) (mod 1 10) (mod (-4) 3) (compare 1 2) (compare 2 1) (compare 1 1) (bitAnd 3 10) (bitOr 3 10) (bitXor 3 10) (trivial.bitNot 5) ];
  hex = [ (toHexString 250) (toHexString 0) (fromHexString "FF") (fromHexString "0x7fffffffffffffff") (toBaseDigits 2 6) (toBaseDigits 10 250) (toBaseDigits 16 250) ];
  splitCmp = let cmp = splitByAndCompare (hasPrefix "foo") compare compare; in [ (cmp "a" "z") (cmp "fooa" "fooz") (cmp "f" "fooa") (cmp "fooa" "a") ];
  fns = [ (functionArgs ({ a, b ? 1 }: a)) (functionArgs (setFunctionArgs (x: x) { q = true; })) (isFunction { __functor = s: x: x; }) (isFunction { }) ((toFunction 3) 1) ((toFunction (x: x + 1)) 1) ];
  fix = [ (fix (self: { foo = "f"; bar = "b"; foobar = self.foo + self.bar; })) (converge (x: x / 2) 16) (fix (extends (final: prev: { a = prev.a + 1; c = final.b; }) (final: { a = 1; b = final.a * 10; }))) ];
  compose = fix (extends (composeManyExtensions [ (f: p: { n = p.n + 1; }) (f: p: { n = p.n * 10; m = f.n; }) ]) (f: { n = 1; }));
  compose2 = fix (extends (composeExtensions (f: p: { n = p.n + 1; }) (f: p: { n = p.n * 10; })) (f: { n = 1; }));
  ext = let o = (makeExtensible (self: { a = 1; b = self.a; })).extend (final: prev: { a = 5; }); in { inherit (o) a b; };
  toExt = [ ((fixedPoints.toExtension { a = 1; }) 1 2) ((fixedPoints.toExtension (p: { b = p; })) 1 2) ((fixedPoints.toExtension (f: p: { b = f + p; })) 1 2) ];
  callPackage = let f = callPackageWith { a = 1; b = 2; }; p = f ({ a, b, c ? 3 }: { sum = a + b + c; }) { c = 10; }; in [ p.sum (p.override { a = 100; }).sum (p.override (old: { b = old.b + 5; })).sum ];
  callPackages = (callPackagesWith { x = 2; } ({ x, y }: { p = { v = x * y; }; }) { y = 4; }).p.v;
  scope = let sc = makeScope (extra: callPackageWith ({ base = 1; } // extra)) (self: { a = self.callPackage ({ base }: { v = base; }) { }; b = self.callPackage ({ a }: { v = a.v + 1; }) { }; }); in [ sc.b.v (sc.overrideScope (f: p: { a = { v = 10; }; })).b.v ];
  asserts = [ (assertMsg true "x") (assertOneOf "n" 1 [ 1 2 ]) (try (assertMsg false "x")).success (try (assertOneOf "n" 3 [ 1 2 ])).success (asserts.assertEachOneOf "n" [ 1 ] [ 1 2 ]) ];
  enumList = [ (checkListOfEnum "c" [ "a" "b" ] [ "a" ] 5) (try (checkListOfEnum "c" [ "a" "b" ] [ "z" ] 5)).success ];
  throwIf = [ (throwIf false "x" 1) (throwIfNot true "x" 1) (try (throwIf true "x" 1)).success (warnIf false "x" 2) ];
  deps = [ (stringsWithDeps.textClosureMap id { a = noDepEntry "A"; b = fullDepEntry "B" [ "c" ]; c = stringAfter [ "a" ] "C"; } [ "b" "a" ]) (textClosureList { a = noDepEntry "x"; } [ "a" ]) ];
  exe = let p = { type = "derivation"; name = "hello-1"; pname = "hello"; outPath = "/nix/store/h"; meta.mainProgram = "hi"; }; in [ (getExe p) (getExe' p "x") ];
  meta = [ (setPrio 3 { }).meta.priority (hiPrio { }).meta (appendToName "doc" { name = "foo-1.2"; }).name (updateName (x: x + "!") { name = "a"; }).name (meta.availableOn { system = "x86_64-linux"; } { }) ];
  path = [ (toString (path.append /foo "bar/./baz")) (path.hasPrefix /foo /foo/bar) (path.hasPrefix /foo/bar /foo) (path.removePrefix /foo /foo/bar/baz) (path.subpath.isValid "") (path.subpath.isValid "a/../b") (path.subpath.normalise "./foo//bar/") (path.subpath.join [ "a" "./b/." ]) (path.subpath.components "a//b") (path.splitRoot /foo/bar).subpath ];
  runTests = runTests { testOk = { expr = 1; expected = 1; }; testBad = { expr = 1; expected = 2; }; };
}
