"""Tensor mathematics and layers; nothing here knows of data, classes of methods or files."""
