"""How fast the steps are, how fast the machine could be, and how fast a plain implementation is beside it."""
