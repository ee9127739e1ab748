{ a = "never closed; }
