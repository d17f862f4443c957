"""The released artefact: save, load, verify, describe, change its classes, begin training with it."""
