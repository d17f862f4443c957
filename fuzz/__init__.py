"""Random and hostile inputs for everything that reads a file: ``python -m fuzz gnt --runs 100000 --seed 0``.

A reader under test (``readers/``) knows valid inputs, made by our own writers or by those of the format's makers, how
to damage them with the format in mind, and how to tell, by other means than the code under test, whether what was
accepted is so. ``judging.py`` says what counts as a finding, ``driver.py`` runs many inputs under limits, the tests
run a few.
"""
