"""Figures of merit and the recogniser that they are made with."""
