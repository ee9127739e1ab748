# Functions on lists.
{ lib }:
let
  inherit (builtins) length elemAt genList foldl' concatMap filter elem isList head tail listToAttrs;
in
rec {
  inherit (builtins) head tail length elem elemAt filter concatLists concatMap genList partition all any sort map isList groupBy foldl' listToAttrs;

  singleton = x: [ x ];
  forEach = xs: f: map f xs;
  toList = x: if isList x then x else [ x ];
  optional = cond: x: if cond then [ x ] else [ ];
  optionals = cond: xs: if cond then xs else [ ];
  range = first: last: if first > last then [ ] else genList (n: first + n) (last - first + 1);
  replicate = n: x: genList (_: x) n;

  foldr = op: nul: xs:
    let n = length xs; go = i: if i == n then nul else op (elemAt xs i) (go (i + 1)); in go 0;
  fold = foldr;
  foldl = op: nul: xs:
    let go = i: if i == 0 then nul else op (go (i - 1)) (elemAt xs (i - 1)); in go (length xs);

  imap0 = f: xs: genList (i: f i (elemAt xs i)) (length xs);
  imap1 = f: xs: genList (i: f (i + 1) (elemAt xs i)) (length xs);
  ifilter0 = p: xs: map (elemAt xs) (filter (i: p i (elemAt xs i)) (genList (i: i) (length xs)));

  flatten = x: if isList x then concatMap flatten x else [ x ];
  remove = x: filter (y: y != x);
  count = p: foldl' (n: x: if p x then n + 1 else n) 0;

  findFirstIndex = p: default: xs:
    let n = length xs; go = i: if i == n then default else if p (elemAt xs i) then i else go (i + 1); in go 0;
  findFirst = p: default: xs: let i = findFirstIndex p null xs; in if i == null then default else elemAt xs i;
  findSingle = p: none: multiple: xs:
    let found = filter p xs; in
    if found == [ ] then none else if length found == 1 then head found else multiple;

  groupBy' = op: nul: key: xs: builtins.mapAttrs (_: foldl' op nul) (builtins.groupBy key xs);

  reverseList = xs: let n = length xs; in genList (i: elemAt xs (n - i - 1)) n;
  take = n: sublist 0 n;
  takeEnd = n: xs: drop (lib.max 0 (length xs - n)) xs;
  drop = n: xs: sublist n (length xs) xs;
  dropEnd = n: xs: take (lib.max 0 (length xs - n)) xs;
  sublist = start: n: xs:
    let len = length xs; size = if start >= len then 0 else if start + n > len then len - start else n; in
    genList (i: elemAt xs (start + i)) size;
  hasPrefix = prefix: xs: take (length prefix) xs == prefix;
  removePrefix = prefix: xs:
    if hasPrefix prefix xs then drop (length prefix) xs
    else throw "lib.lists.removePrefix: the list does not begin with the given prefix";
  commonPrefix = a: b:
    let
      n = lib.min (length a) (length b);
      differs = findFirstIndex (i: elemAt a i != elemAt b i) n (genList (i: i) n);
    in
    take differs a;
  last = xs: if xs == [ ] then throw "lists.last: list must not be empty!" else elemAt xs (length xs - 1);
  init = xs: if xs == [ ] then throw "lists.init: list must not be empty!" else take (length xs - 1) xs;
  replaceElemAt = xs: index: x:
    if index < 0 || index >= length xs
    then throw "lists.replaceElemAt: index ${toString index} lies outside a list of ${toString (length xs)}"
    else imap0 (i: old: if i == index then x else old) xs;

  zipListsWith = f: a: b: genList (i: f (elemAt a i) (elemAt b i)) (lib.min (length a) (length b));
  zipLists = zipListsWith (fst: snd: { inherit fst snd; });
  crossLists = f: lists: foldl' (fs: args: concatMap (g: map g args) fs) [ f ] lists;

  allUnique = xs: length (unique xs) == length xs;
  unique = foldl' (acc: x: if elem x acc then acc else acc ++ [ x ]) [ ];
  uniqueStrings = xs: builtins.attrNames (builtins.groupBy lib.id xs);
  intersectLists = a: filter (x: elem x a);
  subtractLists = a: filter (x: !(elem x a));
  mutuallyExclusive = a: b: length a == 0 || !(builtins.any (x: elem x a) b);
  concatAttrValues = set: builtins.concatLists (builtins.attrValues set);

  # The element-wise order on lists, by an order on elements.
  compareLists = cmp: a: b:
    if a == [ ] then (if b == [ ] then 0 else -1)
    else if b == [ ] then 1
    else let c = cmp (head a) (head b); in if c != 0 then c else compareLists cmp (tail a) (tail b);

  sortOn = key: xs:
    map (e: e.value) (builtins.sort (a: b: a.key < b.key) (map (value: { inherit value; key = key value; }) xs));

  # Numbers within the strings compare as numbers: [ "a10" "a9" ] becomes [ "a9" "a10" ].
  naturalSort = xs:
    let
      parts = text: map (p: if isList p then lib.toIntBase10 (head p) else p) (filter (p: p != "") (builtins.split "([0-9]+)" text));
      cmp = a: b:
        if builtins.isInt a && builtins.isString b then -1
        else if builtins.isString a && builtins.isInt b then 1
        else lib.compare a b;
      decorated = map (value: { inherit value; key = parts value; }) xs;
    in
    map (e: e.value) (builtins.sort (a: b: compareLists cmp a.key b.key < 0) decorated);

  # Depth-first walk from the first element through everything that comes before it, until a cycle or the end.
  listDfs = stopOnCycles: before: xs:
    let
      go = us: visited: rest:
        let
          inherit (builtins.partition (x: before x us) visited) right;
          step = builtins.partition (x: before x us) rest;
        in
        if stopOnCycles && right != [ ] then { cycle = us; loops = right; inherit visited rest; }
        else if step.right == [ ] then { minimal = us; inherit visited rest; }
        else go (head step.right) ([ us ] ++ visited) (tail step.right ++ step.wrong);
    in
    go (head xs) [ ] (tail xs);

  # A total order that respects a partial one, or the cycle that prevents it.
  toposort = before: xs:
    let
      first = listDfs true before xs;
      others = toposort before (first.visited ++ first.rest);
    in
    if length xs < 2 then { result = xs; }
    else if first ? cycle then { cycle = reverseList ([ first.cycle ] ++ first.visited); inherit (first) loops; }
    else if others ? cycle then others
    else { result = [ first.minimal ] ++ others.result; };
}
