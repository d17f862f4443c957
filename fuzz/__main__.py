"""``python -m fuzz READER``."""

from fuzz.driver import main

main()
