let port = 80; in { x = prot; }
