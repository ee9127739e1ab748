let check = port: if port > 65535 then throw "port ${toString port} is too big" else port; in { services.web.port = check 70000; }
