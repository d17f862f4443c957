# What CI runs, in the environment that is active.
check: format lint types imports test

format:
    ruff format --check .

lint:
    ruff check .

types:
    mypy

imports:
    lint-imports

test:
    OMP_NUM_THREADS=1 pytest -n 2

# Mend what can be mended by a tool.
fix:
    ruff check --fix .
    ruff format .
