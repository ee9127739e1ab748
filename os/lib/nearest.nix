# Near names for "did you mean": edit distance by the two-row method.
{ lib }:
let
  inherit (builtins) stringLength substring genList foldl' elemAt filter sort;
in
rec {
  # Insertions, deletions and replacements that turn one string into the other.
  distance = a: b:
    let
      n = stringLength b;
      start = genList (i: i) (n + 1);
      nextRow = row: i:
        let
          c = substring i 1 a;
          cells = foldl'
            (acc: j:
              let
                cost = if substring j 1 b == c then 0 else 1;
                best = lib.min (lib.min (acc.left + 1) (elemAt row (j + 1) + 1)) (elemAt row j + cost);
              in
              builtins.seq best { left = best; cells = acc.cells ++ [ best ]; })
            { left = i + 1; cells = [ (i + 1) ]; }
            (genList (j: j) n);
        in
        cells.cells;
    in
    elemAt (foldl' nextRow start (genList (i: i) (stringLength a))) n;

  # The (at most three) candidates that are close enough to be what was meant, nearest first.
  suggest = wanted: candidates:
    let
      limit = lib.max 2 (stringLength wanted / 3);
      plausible = filter (c: let d = stringLength c - stringLength wanted; in d <= limit && -d <= limit) candidates;
      rated = map (name: { inherit name; d = distance (lib.toLower wanted) (lib.toLower name); }) plausible;
      near = sort (x: y: x.d < y.d || x.d == y.d && x.name < y.name) (filter (x: x.d <= limit) rated);
      prefixed = filter (c: c != wanted && stringLength wanted > 3 && lib.hasPrefix wanted c) candidates;
    in
    lib.take 3 (lib.unique (map (x: x.name) near ++ prefixed));
}
