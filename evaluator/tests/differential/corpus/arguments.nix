builtins.elemAt (assert false; 255) ""
---
builtins.elemAt "" (throw "x")
---
builtins.elemAt (throw "x") 0
---
builtins.getAttr 1 (throw "x")
---
builtins.getAttr "a" (throw "x")
---
builtins.hasAttr [ ] (assert false; 1)
---
builtins.removeAttrs 1 (throw "x")
---
builtins.zipAttrsWith 1 (throw "x")
---
builtins.zipAttrsWith 1 [ ]
---
builtins.zipAttrsWith (throw "x") 1
---
builtins.filterSource 1 (throw "x")
---
builtins.filterSource (throw "x") 1
---
builtins.hashString "nothing" (throw "x")
---
builtins.match "(" (throw "x")
---
builtins.split 1 (throw "x")
---
builtins.substring "" (throw "x") "abc"
---
builtins.substring 0 "" (throw "x")
---
builtins.substring (-1) (throw "x") ""
---
builtins.substring (-1) 1 (throw "x")
---
builtins.replaceStrings [ "a" ] [ ] (throw "x")
---
builtins.replaceStrings 1 (throw "x") ""
---
builtins.concatStringsSep 1 (throw "x")
---
builtins.sub "" (throw "x")
---
builtins.bitAnd "" (throw "x")
---
builtins.lessThan { } (throw "x")
---
builtins.compareVersions 1 (throw "x")
---
builtins.any 1 (throw "x")
---
builtins.partition 1 (throw "x")
---
builtins.concatMap 1 (throw "x")
---
builtins.appendContext 1 (throw "x")
---
builtins.toFile "" (throw "x")
---
builtins.map 1 (throw "x")
---
builtins.genList (throw "x") "1"
---
builtins.intersectAttrs 1 (throw "x")
---
builtins.catAttrs 1 (throw "x")
---
map (builtins.elemAt (throw "x")) [ "" ]
---
map (builtins.getAttr 1) [ (throw "x") ]
---
builtins.scopedImport (throw "x") 0
---
builtins.scopedImport 0 (throw "x")
---
builtins.scopedImport (throw "x") ./fixture/nothing.nix
---
(derivation ({ name = "x"; builder = "b"; system = "s"; outputHash = ""; outputHashAlgo = "sha256"; outputHashMode = "git"; })).out
---
(derivation ({ name = "x"; builder = "b"; system = "s"; outputHash = ""; outputHashAlgo = "sha256"; outputHashMode = "text"; })).out
---
builtins.derivationStrict ({ name = "x"; builder = "b"; system = "s"; outputHash = "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="; outputHashAlgo = 0; outputHashMode = "flat"; })
---
builtins.derivationStrict ({ name = "x"; builder = "b"; system = "s"; outputHash = "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="; outputHashAlgo = "nothing"; __structuredAttrs = true; })
---
builtins.derivationStrict ({ name = "x"; builder = "b"; system = "s"; outputHash = "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="; outputHashAlgo = 0; __structuredAttrs = true; })
---
builtins.derivationStrict ({ name = "x"; builder = "b"; system = "s"; outputHash = ""; outputHashAlgo = "nothing"; })
---
builtins.storePath (builtins.path { path = ./fixture/link; filter = or1: a: 0; name = "x"; })
---
(rec { inherit ({ a = (throw "t"); }) a; b = a; }).a.${0}.b or 0.c or 0
---
builtins.attrNames (builtins.partition (x: false) [ (throw "t") ])
