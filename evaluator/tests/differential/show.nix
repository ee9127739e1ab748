# A value as text that two evaluators can be compared by: types, exact numbers, contexts, names of arguments. What is nested
# more deeply than any case nests on purpose is cut, so that infinite data has a text, too.
let
  show =
    depth: value:
    let
      type = builtins.typeOf value;
      plain = builtins.unsafeDiscardStringContext value;
      inner = show (depth + 1);
    in
    if depth > 4 then
      "…"
    else if type == "int" then
      "int ${toString value}"
    else if type == "float" then
      "float ${toString value} ${builtins.toJSON value}"
    else if type == "bool" then
      (if value then "true" else "false")
    else if type == "null" then
      "null"
    else if type == "string" then
      "'${plain}'" + (if builtins.hasContext value then " with ${builtins.toJSON (builtins.getContext value)}" else "")
    else if type == "path" then
      "path ${toString value}"
    else if type == "list" then
      "[ ${builtins.concatStringsSep ", " (map inner value)} ]"
    else if type == "set" && depth > 0 && value.type or null == "derivation" && value ? drvPath then
      "derivation ${value.drvPath} ${value.outPath or ""}"
    else if type == "set" then
      "{ ${
        builtins.concatStringsSep " " (map (name: "${name} = ${inner value.${name}};") (builtins.attrNames value))
      } }"
    else
      "function ${builtins.toJSON (builtins.functionArgs value)}";
in
show 0
