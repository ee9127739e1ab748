# Calls of functions, arithmetic and lists: what `ci/bench-instructions` counts.
let
  fib = n: if n < 2 then n else fib (n - 1) + fib (n - 2);
  numbers = builtins.genList (n: builtins.bitXor n 1365) 4000;
in
[
  (fib 16)
  (builtins.foldl' (a: b: a + b) 0 (builtins.genList (n: n) 20000))
  (builtins.elemAt (builtins.sort (a: b: a < b) numbers) 7)
  (builtins.length (builtins.filter (n: n / 3 * 3 == n) (map (n: n * 7) numbers)))
  (builtins.length (builtins.genericClosure {
    startSet = [ { key = 0; } ];
    operator = { key }: if key < 2000 then [ { key = key + 1; } ] else [ ];
  }))
]
