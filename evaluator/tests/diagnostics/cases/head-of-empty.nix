{ first = builtins.head [ ]; }
