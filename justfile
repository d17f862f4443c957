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

# Is this machine fit?
doctor:
    ctfgan doctor

# Pin everything that is installed, in a fresh environment; then the page of licences.
lock:
    python tools/lock.py
    python tools/licences.py

# Is everything pinned, every licence allowed, no vulnerability known?
audit:
    python tools/lock.py --check
    python tools/licences.py --check
    python tools/audit.py

licences:
    python tools/licences.py

sbom:
    mkdir -p dist
    python tools/sbom.py dist/sbom.json

# sdist, wheel, bill of materials and sums in dist/; docs/releasing.md says what comes before and after.
release:
    python tools/release.py

# The documentation as pages, in site/.
docs:
    mkdocs build --strict
