"""Whole configurations by name, and how they become networks and stages."""
