"""Readers of image formats, one protocol for all."""
