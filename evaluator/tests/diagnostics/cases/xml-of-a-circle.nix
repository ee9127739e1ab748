let a = { b = [ a 1 2 ]; }; in builtins.toXML a
