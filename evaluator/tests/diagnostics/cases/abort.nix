builtins.abort "no way on"
