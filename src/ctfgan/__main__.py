"""``python -m ctfgan``."""

from ctfgan.cli.main import main

main()
