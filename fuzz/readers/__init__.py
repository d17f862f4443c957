"""One module for each reader under test; each offers a ``READER``."""
