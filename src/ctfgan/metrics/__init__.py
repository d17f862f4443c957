"""Scores of images, and the classifier whose features they are taken on."""
