# What a lock file's root is as a value: the flake with its inputs, each fetched when something asks for it.
#
# `lockText` is the lock file. `fetched` has, by the lock file's names, the trees that are there already, each with
# `sourceInfo` and the directory `dir` of the flake in it. `fetchLocked` fetches what a lock file names.
lockText: fetched: fetchLocked:
let
  lock = builtins.fromJSON lockText;

  # An edge is the name of a node, or a path of inputs that begins at the root.
  nodeOf = edge: if builtins.isList edge then nodeAt edge else edge;
  nodeAt = builtins.foldl' (node: input: nodeOf lock.nodes.${node}.inputs.${input}) lock.root;

  valueOf =
    name: node:
    let
      isFetched = fetched ? ${name};
      path = node.locked.path or "";
      isRelative = !isFetched && node.locked.type == "path" && builtins.substring 0 1 path != "/";
      parent = values.${nodeAt node.parent};

      sourceInfo =
        if isFetched then
          fetched.${name}.sourceInfo
        else if isRelative then
          parent.sourceInfo
        else
          fetchLocked (node.info or { } // removeAttrs node.locked [ "dir" ]);

      below = directory: name: directory + (if name == "" then "" else "/" + name);
      outPath =
        if isFetched then
          below sourceInfo.outPath fetched.${name}.dir
        else if isRelative then
          below (below parent.outPath path) (node.locked.dir or "")
        else
          below sourceInfo.outPath (node.locked.dir or "");

      flake = import (outPath + "/flake.nix");
      inputs = builtins.mapAttrs (_: edge: values.${nodeOf edge}) (node.inputs or { });
      outputs = flake.outputs (inputs // { self = value; });
      value =
        outputs
        // sourceInfo
        // {
          inherit
            outPath
            inputs
            outputs
            sourceInfo
            ;
          _type = "flake";
        };
    in
    if node.flake or true then
      assert builtins.isFunction flake.outputs;
      value
    else
      sourceInfo // { inherit sourceInfo outPath; };

  values = builtins.mapAttrs valueOf lock.nodes;
in
values.${lock.root}
