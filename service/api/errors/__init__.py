"""What a client is told when something cannot be done: the object, its codes, and which error gives which."""
