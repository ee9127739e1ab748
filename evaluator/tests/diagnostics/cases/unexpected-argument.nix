let f = { name, value }: 1; in f { name = 1; value = 2; valeu = 3; }
