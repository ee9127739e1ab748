{ port = "port " + 80; }
