(derivation { name = "x"; builder = "b"; system = "s"; port = throw "no port"; }).drvPath
