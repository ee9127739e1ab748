# Fixed points and overlays: functions that receive their own result.
{ lib ? null }:
rec {
  # The least fixed point of a function: `fix (self: { a = 1; b = self.a; })`.
  fix = f: let self = f self; in self;

  # As `fix`, with the function kept in the result as `__unfix__`.
  fix' = f: let self = f self // { __unfix__ = f; }; in self;

  # Applies `f` again and again until the value no longer changes.
  converge = f: x: let next = f x; in if next == x then x else converge f next;

  # Puts an overlay (`final: prev: { … }`) on top of a fixed-point function.
  extends = overlay: f: final: let prev = f final; in prev // overlay final prev;

  # Two overlays as one; the second sees the first one's result.
  composeExtensions = first: second: final: prev:
    let
      one = first final prev;
    in
    one // second final (prev // one);

  composeManyExtensions = overlays: final: start:
    let
      step = acc: overlay: let added = overlay final acc.seen; in { seen = acc.seen // added; added = acc.added // added; };
    in
    (builtins.foldl' step { seen = start; added = { }; } overlays).added;

  # A recursive set that carries `extend`.
  makeExtensible = makeExtensibleWithCustomName "extend";

  makeExtensibleWithCustomName = name: f:
    fix' (self: f self // { ${name} = overlay: makeExtensibleWithCustomName name (extends overlay f); });

  # An overlay from a set, from `prev: { }` or from `final: prev: { }`.
  toExtension = f:
    if !(builtins.isFunction f || builtins.isAttrs f && f ? __functor) then _final: _prev: f
    else final: prev: let one = f prev; in
      if builtins.isFunction one || builtins.isAttrs one && one ? __functor then f final prev else one;
}
