# lib.lists on ordinary and edge inputs.
{ lib }:
with lib;
let try = e: (builtins.tryEval (builtins.deepSeq e e)); in
{
  foldr = foldr (a: b: "${toString a}${b}") "z" [ 1 2 3 ];
  foldl = foldl (a: b: "(${a}${toString b})") "z" [ 1 2 3 ];
  imap = [ (imap0 (i: v: "${v}-${toString i}") [ "a" "b" ]) (imap1 (i: v: "${v}-${toString i}") [ "a" "b" ]) ];
  ifilter0 = lists.ifilter0 (i: v: i == 0 || v > 2) [ 1 2 3 ];
  flatten = flatten [ 1 [ 2 [ 3 ] 4 ] [ ] 5 ];
  remove = remove 3 [ 1 3 4 3 ];
  findSingle = [ (findSingle (x: x == 3) "none" "multiple" [ 1 3 3 ]) (findSingle (x: x == 3) "none" "multiple" [ 1 3 ]) (findSingle (x: x == 3) "none" "multiple" [ 1 9 ]) ];
  findFirst = [ (findFirst (x: x > 3) 7 [ 1 6 4 ]) (findFirst (x: x > 9) 7 [ 1 6 4 ]) ];
  findFirstIndex = lists.findFirstIndex (x: x > 3) null [ 0 6 4 ];
  count = count (x: x == 3) [ 3 2 3 4 6 ];
  range = [ (range 2 4) (range 3 2) ];
  replicate = replicate 3 "a";
  partition = partition (x: x > 2) [ 5 1 2 3 4 ];
  groupBy' = groupBy' builtins.add 0 (x: boolToString (x > 2)) [ 5 1 2 3 4 ];
  zip = [ (zipLists [ 1 2 ] [ "a" "b" "c" ]) (zipListsWith (a: b: a + b) [ "h" "l" ] [ "e" "o" ]) ];
  reverse = reverseList [ "b" "o" "j" ];
  toposort = [ (toposort (a: b: a < b) [ 3 2 1 ]) (toposort hasPrefix [ "/home/user" "other" "/" "/home" ]) (toposort (a: b: a != b) [ 1 2 ]) ];
  listDfs = [ (listDfs true hasPrefix [ "/home/user" "other" "/" "/home" ]) (listDfs true hasPrefix [ "/home/user" "other" "/" "/home" "/" ]) ];
  compareLists = [ (compareLists compare [ ] [ ]) (compareLists compare [ ] [ "a" ]) (compareLists compare [ "a" "b" ] [ "a" "c" ]) ];
  naturalSort = [ (naturalSort [ "disk11" "disk8" "disk100" "disk9" ]) (naturalSort [ "10.46.133.149" "10.5.16.62" "10.54.16.25" ]) (naturalSort [ "v0.2" "v0.15" "v0.0.9" ]) ];
  sortOn = sortOn stringLength [ "aa" "b" "cccc" ];
  take = [ (take 2 [ "a" "b" "c" ]) (take 2 [ ]) (takeEnd 2 [ 1 2 3 ]) (drop 2 [ "a" "b" "c" "d" ]) (drop 2 [ ]) (dropEnd 1 [ 1 2 3 ]) (sublist 1 3 [ "a" "b" "c" "d" "e" ]) (sublist 1 3 [ ]) ];
  prefix = [ (lists.hasPrefix [ 1 2 ] [ 1 2 3 ]) (lists.hasPrefix [ 2 ] [ 1 2 ]) (lists.removePrefix [ 1 2 ] [ 1 2 3 ]) (lists.commonPrefix [ 1 2 3 ] [ 1 2 4 8 ]) (lists.commonPrefix [ ] [ 1 ]) ];
  ends = [ (last [ 1 2 3 ]) (init [ 1 2 3 ]) (try (last [ ])).success ];
  cross = crossLists (x: y: "${toString x}${toString y}") [ [ 1 2 ] [ 3 4 ] ];
  unique = [ (unique [ 3 2 3 4 ]) (allUnique [ 1 2 ]) (allUnique [ 1 1 ]) (uniqueStrings [ "b" "a" "b" ]) ];
  sets = [ (intersectLists [ 1 2 3 ] [ 6 3 2 ]) (subtractLists [ 3 2 ] [ 1 2 3 4 5 3 ]) (mutuallyExclusive [ 1 2 ] [ 3 ]) (mutuallyExclusive [ 1 ] [ 1 ]) ];
  replaceElemAt = lists.replaceElemAt [ "a" "b" "c" ] 1 "x";
  concatAttrValues = concatAttrValues { a = [ 1 2 ]; b = [ 3 ]; };
  optional = [ (optional true "a") (optional false "a") (optionals true [ 2 3 ]) (toList "x") (toList [ "x" ]) (singleton 1) (forEach [ 1 2 ] toString) ];
}
