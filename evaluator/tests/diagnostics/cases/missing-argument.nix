let f = { name, value }: 1; in f { name = 1; }
