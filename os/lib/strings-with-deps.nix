# Text pieces that say which pieces must stand before them (activation scripts are made of these).
{ lib }:
rec {
  textClosureList = table: names:
    let
      walk = state: name:
        if state.done ? ${name} then state
        else
          let
            entry = table.${name} or (throw "there is no text piece '${name}'; known are: ${toString (builtins.attrNames table)}");
            before = builtins.foldl' walk (state // { done = state.done // { ${name} = true; }; })
              (if builtins.isAttrs entry then entry.deps or [ ] else [ ]);
          in
          before // { texts = before.texts ++ [ (if builtins.isAttrs entry then entry.text else entry) ]; };
    in
    (builtins.foldl' walk { done = { }; texts = [ ]; } names).texts;

  textClosureMap = f: table: names: lib.concatStringsSep "\n" (map f (textClosureList table names));
  noDepEntry = text: { inherit text; deps = [ ]; };
  fullDepEntry = text: deps: { inherit text deps; };
  packEntry = deps: { inherit deps; text = ""; };
  stringAfter = deps: text: { inherit text deps; };
}
