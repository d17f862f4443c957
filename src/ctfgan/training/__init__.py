"""The loop, the games, the stages, the run folder."""
