"""Images from a bundle."""
