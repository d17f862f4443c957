"""One adversarial game per file."""
