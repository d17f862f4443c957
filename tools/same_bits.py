"""Whether a change of the code changed what it computes: short trainings of every method, to the last bit.

    python tools/same_bits.py before.json                      # on the commit before
    python tools/same_bits.py after.json --against before.json # on the commit after: exit code 1 where they differ

Every case trains some steps of fixed seeds through the command line, measures, and makes images; kept are the losses
of each step, the figures, and hashes of the released weights and of the images' pixels. Bits are those of one machine
and one build of torch with one thread: write both files on the same one. Some three minutes on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

SIZE = ("data.resolution=16", "device=cpu", "generator_width=0.05", "discriminator_width=0.05", "checks.every=4",
        "checks.images=32", "recogniser.images=2000", "journal_every=1")  # fmt: skip
GLYPHS = ("data.glyphs.characters=ABCD", "glyphs.images_per_class=40")
TWO_STAGES = ("transfer.steps=4", "generate.steps=4", "transfer.batch_size=8", "generate.batch_size=8")
ONE_STAGE = ("adversarial.steps=4", "adversarial.batch_size=8")
GROWING = ("phase_steps=2", "grow.steps=4", "grow.batch_size=8")
AIDED = ("augmentation.policy=['translation', 'cutout']", "augmentation.probability=0.5", "lecam.weight=0.3",
         "lecam.from_step=1", "penalty.r1=0.1", "penalty.every=2")  # fmt: skip
UNTIMED = ("time", "seconds", "seconds_per_step", "at", "memory", "images_per_second")

Commands = list[list[str]]


def train(run: str, recipe: str, *settings: str, hq: bool = True, more: tuple[str, ...] = ()) -> list[str]:
    """The arguments of one short training."""
    data = ["--hq", "hq", "--lq", "lq"] if hq else []
    if recipe.startswith("projection") or "gan" in recipe:
        data = ["--hq", "hq"]
    chosen = (*SIZE, *settings)
    return [
        "train",
        "--recipe",
        recipe,
        *data,
        *more,
        "--out",
        run,
        *(part for one in chosen for part in ("--set", one)),
    ]


def cases() -> dict[str, tuple[int, Commands]]:
    """Name -> number of processes and the commands of one after the other; each trains ``run``."""
    sheet = ["sample", "run", "-n", "3", "--out", "sheet.png", "--device", "cpu"]
    figures = ["evaluate", "run", "--images", "200"]
    return {
        "ctf-glyphs": (1, [
            train("run", "ctf-glyphs", *GLYPHS, *TWO_STAGES, hq=False), figures, sheet,
            ["sample", "run", "--all-classes", "-n", "2", "--out", "set", "--device", "cpu"],
            ["enhance", "run", "lq/b", "--class", "B", "--out", "enhanced.png", "--device", "cpu"],
        ]),
        "ctf-matched": (1, [train("run", "ctf-folders", *TWO_STAGES, *AIDED), figures, sheet]),
        "ctf-codes": (1, [
            train("run", "ctf-folders", *TWO_STAGES, "class_tables=codes", "class_code=8"), figures, sheet,
            ["classes", "add", "run", "new", "--lq", "new", "--out", "grown"],
            ["sample", "grown", "-n", "2", "--out", "grown.png", "--device", "cpu"],
        ]),
        "ctf-resumed": (1, [
            train("run", "ctf-folders", *TWO_STAGES), ["resume", "run", "--set", "generate.steps=7"], figures, sheet,
        ]),
        "ctf-warm": (1, [
            train("first", "ctf-folders", *TWO_STAGES),
            train("run", "ctf-folders", *TWO_STAGES, more=("--from", "first")),
            sheet,
        ]),
        "ctf-r3": (1, [train("run", "ctf-r3-folders", *TWO_STAGES), sheet]),
        "ctf-accumulated": (1, [train("run", "ctf-folders", *TWO_STAGES, "generate.accumulate=2"), sheet]),
        "ctf-two-processes": (2, [train("run", "ctf-folders", *TWO_STAGES), figures, sheet]),
        "projection": (1, [train("run", "projection-folders", *ONE_STAGE, *AIDED), figures, sheet]),
        "projection-r3": (1, [train("run", "projection-r3-folders", *ONE_STAGE), sheet]),
        "projection-two-processes": (2, [train("run", "projection-folders", *ONE_STAGE), sheet]),
        "sn-gan": (1, [train("run", "sn-gan-folders", *ONE_STAGE), figures]),
        "sn-gan-concat": (1, [train("run", "sn-gan-concat-folders", *ONE_STAGE), sheet]),
        "ac-gan": (1, [train("run", "ac-gan-folders", *ONE_STAGE), sheet]),
        "prog-gan": (1, [train("run", "prog-gan-folders", *GROWING), figures, sheet]),
    }  # fmt: skip


def draw_folders(folder: Path) -> None:
    """Four classes of good and cheap pictures, and one more that training does not see."""
    rng = np.random.default_rng(0)
    for name, classes, count, size in (("hq", "abcd", 40, 16), ("lq", "abcd", 30, 8), ("new", "e", 4, 16)):
        for number, label in enumerate(classes):
            (folder / name / label).mkdir(parents=True)
            shape = np.random.default_rng(ord(label)).integers(0, 2, (4, 4), dtype=np.uint8) * 150
            pattern = np.kron(shape, np.ones((size // 4, size // 4), dtype=np.uint8))
            for image in range(count):
                noise = rng.integers(0, 80, (size, size), dtype=np.uint8)
                Image.fromarray(pattern + noise + np.uint8(number)).save(folder / name / label / f"{image:03d}.png")


def play(name: str, processes: int, commands: Commands, folder: Path) -> dict[str, Any]:
    """Run one case in a folder of its own and take down what it computed."""
    folder.mkdir()
    draw_folders(folder)
    script = folder / "case.py"
    script.write_text(
        "import sys\nfrom ctfgan.cli.main import main\n"
        f"for arguments in {commands!r}:\n    sys.argv = ['ctfgan', *arguments]\n    main()\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers = []
    for rank in range(processes):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CTFGAN_CACHE": str(folder / "cache")}
        if processes > 1:
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
                            "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1",
                            "MASTER_PORT": str(port)}  # fmt: skip
        workers.append(subprocess.Popen([sys.executable, script.name], cwd=folder, env=environment, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT))  # fmt: skip
    outputs = [worker.communicate()[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        raise SystemExit(f"{name} failed:\n" + "\n".join(outputs))
    return _facts(folder)


def _facts(folder: Path) -> dict[str, Any]:
    run = folder / "run"
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    journal = [{key: value for key, value in line.items() if key not in UNTIMED} for line in lines]
    facts: dict[str, Any] = {
        "losses": [line for line in journal if line.get("kind") == "step" or line.get("event") == "step"] or journal,
        "weights": hashlib.sha256((run / "bundle" / "model.safetensors").read_bytes()).hexdigest(),
    }
    if (run / "figures.json").exists():
        facts["figures"] = json.loads((run / "figures.json").read_text())["rows"]
    for picture in sorted([*folder.glob("*.png"), *(folder / "set").rglob("*.png"), *(run / "sheets").glob("*.png")]):
        pixels = np.asarray(Image.open(picture))
        facts[str(picture.relative_to(folder))] = hashlib.sha256(pixels.tobytes()).hexdigest()
    return facts


def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """Places at which two results differ, with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [line for key in sorted({*before, *after})
                for line in differences(before.get(key), after.get(key), f"{place}/{key}")]  # fmt: skip
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [line for number, (one, two) in enumerate(zip(before, after, strict=True))
                for line in differences(one, two, f"{place}/{number}")]  # fmt: skip
    return [] if before == after else [f"{place}: {before} became {after}"]


def main() -> None:
    """Run all cases, write what they computed, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a JSON file")
    parser.add_argument("--against", type=Path, help="what another commit wrote")
    parser.add_argument("--only", action="append", help="a case; may be repeated")
    arguments = parser.parse_args()
    chosen = {name: case for name, case in cases().items() if not arguments.only or name in arguments.only}
    with TemporaryDirectory() as work, ThreadPoolExecutor(2) as pool:
        jobs = {name: pool.submit(play, name, *case, Path(work) / name) for name, case in chosen.items()}
        results = {name: job.result() for name, job in jobs.items()}
    arguments.out.write_text(json.dumps(results, indent=1, sort_keys=True))
    if arguments.against:
        before = {name: facts for name, facts in json.loads(arguments.against.read_text()).items() if name in chosen}
        found = differences(before, json.loads(arguments.out.read_text()))
        for line in found[:40]:
            print(line)
        print(f"{len(found)} differences in {len(results)} cases")
        sys.exit(bool(found))


if __name__ == "__main__":
    main()
