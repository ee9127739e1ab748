# `assert assertMsg cond "why";`: assertions that say why.
{ lib }:
rec {
  assertMsg = ok: msg: if ok then true else throw msg;
  assertOneOf = name: val: valid:
    assertMsg (builtins.elem val valid)
      "${name} must be one of ${lib.generators.toPretty { } valid}, but is: ${lib.generators.toPretty { } val}";
  assertEachOneOf = name: vals: valid:
    assertMsg (builtins.all (v: builtins.elem v valid) vals)
      "each element in ${name} must be one of ${lib.generators.toPretty { } valid}, but is: ${lib.generators.toPretty { } vals}";
  checkAssertWarn = assertions: warnings: value:
    let failed = map (a: a.message) (builtins.filter (a: !a.assertion) assertions); in
    if failed != [ ] then throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (m: "- ${m}") failed}"
    else lib.showWarnings warnings value;
}
