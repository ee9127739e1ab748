# Looking at values while they are evaluated, and `runTests` for tables of expectations.
{ lib }:
let inherit (builtins) trace deepSeq; in
rec {
  traceIf = cond: msg: x: if cond then trace msg x else x;
  traceVal = traceValFn lib.id;
  traceValFn = f: x: trace (f x) x;
  traceSeq = x: y: trace (deepSeq x x) y;
  traceSeqN = depth: x: y:
    let
      cut = d: v:
        if builtins.isList v then (if d == 0 then [ "…" ] else map (cut (d - 1)) v)
        else if builtins.isAttrs v then (if d == 0 then { "…" = "…"; } else builtins.mapAttrs (_: cut (d - 1)) v)
        else v;
    in
    trace (lib.generators.toPretty { allowPrettyValues = true; } (cut depth x)) y;
  traceValSeq = traceValSeqFn lib.id;
  traceValSeqFn = f: x: traceValFn f (deepSeq x x);
  traceValSeqN = traceValSeqNFn lib.id;
  traceValSeqNFn = f: depth: x: traceSeqN depth (f x) x;
  traceFnSeqN = depth: name: f: x:
    let res = f x; in
    traceSeqN (depth + 1) { fn = name; from = x; to = res; } res;
  # Every `test*` attribute is { expr; expected; }; the result lists those that differ.
  runTests = tests:
    lib.concatLists (lib.mapAttrsToList
      (name: t:
        let only = tests.tests or [ ]; in
        if (if only != [ ] then builtins.elem name only else lib.hasPrefix "test" name) && t.expr != t.expected
        then [ { inherit name; inherit (t) expected; result = t.expr; } ] else [ ])
      tests);
  testAllTrue = expr: { inherit expr; expected = map (_: true) expr; };
}
