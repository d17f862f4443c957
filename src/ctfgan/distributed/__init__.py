"""Processes, devices and random numbers: who computes, on what, with which draws."""
