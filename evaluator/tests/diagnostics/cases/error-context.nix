builtins.addErrorContext "while looking at the port:" (throw "it is closed")
