"""Commands over whole libraries: what each of their items asks for, how a worker makes it, and where it goes."""
