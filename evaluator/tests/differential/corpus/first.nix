# Found by the first runs.
5.0e-324
---
1.0e400
---
0.0e-999
---
builtins.path { path = ./fixture/dirlink; }
---
builtins.path { path = ./fixture/link; filter = a: b: true; }
---
builtins.path { path = ./fixture/loop; }
---
builtins.path { path = ./fixture/dangling; }
---
builtins.filterSource (a: b: builtins.trace a true) ./fixture/dirlink
---
builtins.stringLength ./fixture/a.txt
---
builtins.substring 0 100 ./fixture/a.txt
---
builtins.unsafeDiscardStringContext ./fixture/a.txt
---
builtins.unsafeDiscardOutputDependency ./fixture/missing.nix
---
builtins.genList "sha1" 0
---
builtins.genericClosure { startSet = [ { key = null; } ]; operator = q: [ ]; }
---
builtins.genericClosure { startSet = [ { key = null; } { key = null; } ]; operator = q: [ ]; }
---
builtins.genericClosure { startSet = [ { key = x: x; } ]; operator = q: [ ]; }
---
builtins.addErrorContext (abort "x") (throw "x y")
---
builtins.tryEval (null ++ (throw "-12"))
---
builtins.tryEval ((throw "x") ++ null)
---
builtins.concatLists [ (rec { c = b; b = c; }) ]
---
builtins.length (rec { a = b; b = c; c = a; })
