"""A run on disk: its folder, journal and checkpoints."""
