"""``ctfgan doctor``: is this machine fit for ctfgan, and if not, what is to be done? For people and for bug reports."""

from __future__ import annotations

import importlib
import json
import locale
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Literal

import click

from ctfgan.core.errors import CtfganError
from ctfgan.core.files import cache_folder, expanded
from ctfgan.core.text import format_bytes, plural
from ctfgan.distributed.launch import usable_processors

LITTLE_ROOM = 5 << 30  # bytes on a disk
NO_ROOM = 200 << 20
LITTLE_MEMORY = 2 << 30
STEPS = 8  # of each stage of the self-test
SETTINGS = (
    "glyphs.characters=ABCD", "glyphs.images_per_class=12", "data.resolution=16", "keep_checkpoints=20",
    f"transfer.steps={STEPS}", f"generate.steps={STEPS}", "transfer.batch_size=8", "generate.batch_size=8",
    "generator_width=0.05", "discriminator_width=0.05", f"checks.every={STEPS // 2}", "checks.images=16",
    "checks.sheet_rows=1", "recogniser.images=256", "recogniser.width=4", "journal_every=1", "tracker=none",
)  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """One line of an examination."""

    status: Literal["ok", "warn", "fail"]
    """``fail``: ctfgan does not work so; ``warn``: it works, but worse than it could."""
    name: str
    detail: str
    remedy: str = ""
    """One sentence: what to do; empty where there is nothing to do."""


@click.command()
@click.option("--self-test/--no-self-test", "with_self_test", default=True, help="Train, resume and sample a tiny "
              "generator, about ten seconds; on by default.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="What the self-test computes on.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for a bug report.")
def doctor(with_self_test: bool, device: str, as_json: bool) -> None:
    """Say whether this machine is fit for ctfgan, and what to mend if not.

    Every line is ok, warn (works, but could be better) or fail (does not work); exit code 2 if anything fails. The
    home folder is written ~, so that the output can be shown to others.
    """
    examined: list[tuple[str, Diagnosis]] = []
    for section, diagnosis in examine(device, with_self_test=with_self_test):
        if not as_json:
            if not examined or section != examined[-1][0]:
                click.echo(section)
            colour = {"ok": "green", "warn": "yellow", "fail": "red"}[diagnosis.status]
            click.echo(f"  {click.style(f'{diagnosis.status:<4}', fg=colour)}  {diagnosis.name}: {diagnosis.detail}")
            if diagnosis.remedy:
                click.echo(f"        -> {diagnosis.remedy}")
        examined.append((section, diagnosis))
    if as_json:
        content = [{"section": section} | asdict(diagnosis) for section, diagnosis in examined]
        click.echo(json.dumps({"findings": content}, ensure_ascii=False, indent=1))
    broken = [diagnosis.name for _, diagnosis in examined if diagnosis.status == "fail"]
    if broken:
        raise CtfganError(f"this machine is not fit for ctfgan yet ({', '.join(broken)}); follow the remedies above")
    warnings = sum(diagnosis.status == "warn" for _, diagnosis in examined)
    if not as_json:
        click.echo("fit for ctfgan" + (f", {plural(warnings, 'warning')}" if warnings else ""))


def examine(device: str = "auto", *, with_self_test: bool = True) -> Iterator[tuple[str, Diagnosis]]:
    """Look at everything, one section after the other; no failure ends it, nothing stays on disk.

    Args:
        device: what the self-test computes on.
        with_self_test: whether a tiny generator is trained, about ten seconds.

    Yields:
        The name of a section, and one line of it.
    """
    sections: dict[str, Callable[[], Iterable[Diagnosis]]] = {
        "system": _system,
        "devices": _devices,
        "libraries": _libraries,
        "disk": _disk,
    }
    if with_self_test:
        sections["self-test"] = partial(_self_test, device)
    for section, check in sections.items():
        for diagnosis in _checked(section, check):
            yield section, diagnosis


def _checked(section: str, check: Callable[[], Iterable[Diagnosis]]) -> Iterator[Diagnosis]:
    """The lines of a section; a check that breaks gives one itself. The home folder is written ``~``."""
    try:
        for line in check():
            yield replace(line, detail=_without_home(line.detail), remedy=_without_home(line.remedy))
    except Exception as error:  # a broken library raises what it likes, and the other checks must go on
        remedy = "mend what failed above, or report this"
        yield Diagnosis("fail", section, f"could not be examined ({_in_one_line(error)})", remedy)


def _in_one_line(error: BaseException) -> str:
    return _without_home(" ".join(f"{type(error).__name__}: {error}".split()))[:300]


def _without_home(text: str) -> str:
    home = str(expanded("~"))
    return text.replace(home, "~") if len(home) > 1 else text


def _system() -> Iterator[Diagnosis]:
    import psutil

    if platform.system() == "Windows":
        yield Diagnosis("warn", "system", platform.platform(), "nothing is tested on Windows; use Linux, macOS or WSL")
    else:
        yield Diagnosis("ok", "system", platform.platform())
    yield Diagnosis("ok", "processors", f"{usable_processors()} of {os.cpu_count()} usable by this process")
    memory = psutil.virtual_memory()
    text = f"{format_bytes(memory.available)} of {format_bytes(memory.total)} free"
    remedy = "close other programs, or choose smaller batches (--dry-run estimates)"
    scarce = memory.available < LITTLE_MEMORY
    yield Diagnosis("warn", "memory", text, remedy) if scarce else Diagnosis("ok", "memory", text)
    encoding = locale.getencoding()
    if encoding.lower().replace("-", "") != "utf8":
        remedy = "set PYTHONUTF8=1, or names such as 一 are shown as numbers"
        yield Diagnosis("warn", "encoding", encoding, remedy)


def _libraries() -> Iterator[Diagnosis]:
    """Versions of what is always needed, against what ctfgan's own metadata ask for."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    python, needed = platform.python_version(), metadata("ctfgan")["Requires-Python"]
    if SpecifierSet(needed).contains(python, prereleases=True):
        yield Diagnosis("ok", "ctfgan", f"{version('ctfgan')} on Python {python} (needs {needed})")
    else:
        remedy = "make an environment of that Python"
        yield Diagnosis("fail", "ctfgan", f"needs Python {needed}, this is {python}", remedy)
    for requirement in map(Requirement, requires("ctfgan") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name, needs = requirement.name, f"(needs {requirement.specifier})"
        remedy = f"run pip install '{name}{requirement.specifier}'"
        installed = _version(name)
        if installed is None:
            yield Diagnosis("fail", name, f"is not installed {needs}", remedy)
        elif not requirement.specifier.contains(installed, prereleases=True):
            yield Diagnosis("fail", name, f"is {installed} {needs}", remedy)
        else:
            yield Diagnosis("ok", name, f"{installed} {needs}")
    yield _torchmetrics()


def _torchmetrics() -> Diagnosis:
    """It imports torchvision where there is one, and a torchvision of another torch does not import."""
    try:
        importlib.import_module("torchmetrics.image.fid")
    except Exception as error:  # RuntimeError: operator torchvision::nms does not exist
        vision = _version("torchvision")
        remedy = "install torchmetrics again" if vision is None else (
            f"torchvision {vision} may be of another torch; ctfgan needs none, so 'pip uninstall torchvision', or "
            "install the one that fits"
        )  # fmt: skip
        return Diagnosis("fail", "torchmetrics imports", _in_one_line(error), remedy)
    return Diagnosis("ok", "torchmetrics imports", "figures can be computed")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[Diagnosis]:
    """Every device that torch can compute on, after it has computed something."""
    try:
        import torch
    except Exception as error:  # a broken build raises OSError as well as ImportError
        remedy = "install it again with 'pip install -c constraints.txt --force-reinstall torch'"
        yield Diagnosis("fail", "torch", f"cannot be imported ({_in_one_line(error)})", remedy)
        return
    from ctfgan.distributed.engine import choose_device

    yield Diagnosis("ok", "torch", f"{torch.__version__}, built for CUDA {torch.version.cuda or 'never (CPU only)'}")
    yield _threads(torch.get_num_threads())
    for number in range(torch.cuda.device_count()):
        with torch.cuda.device(number):
            free, total = torch.cuda.mem_get_info(number)
            bfloat16 = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16"
        memory = f"{format_bytes(free)} of {format_bytes(total)} free"
        yield _computes(
            f"CUDA {number}", f"cuda:{number}", f"{torch.cuda.get_device_name(number)}, {memory}, {bfloat16}"
        )
    if torch.cuda.device_count() == 0 and shutil.which("nvidia-smi"):
        sees_none = "torch sees none of them; update the driver"
        remedy = sees_none if torch.version.cuda else "torch is built for CPUs; install its CUDA build"
        yield Diagnosis("warn", "CUDA", "this machine has NVIDIA's tools, but torch finds no GPU", remedy)
    if torch.backends.mps.is_available():
        yield _computes("MPS", "mps", "Apple GPU")
    why = {"cuda": "CUDA comes first", "mps": "no CUDA, and MPS comes next", "cpu": "neither CUDA nor MPS is here"}
    chosen = choose_device("auto")
    yield Diagnosis("ok", "--device auto", f"takes {chosen} ({why[chosen.type]})")


def _threads(threads: int) -> Diagnosis:
    usable, setting = usable_processors(), os.environ.get("OMP_NUM_THREADS")
    text = f"{plural(threads, 'thread')} (OMP_NUM_THREADS {'is ' + setting if setting else 'is not set'})"
    if threads > usable:
        remedy = f"set OMP_NUM_THREADS={usable}: more threads than processors are slow"
        return Diagnosis("warn", "CPU", text, remedy)
    if setting is not None and threads * 2 <= usable and threads < 4:
        return Diagnosis("warn", "CPU", text, f"unset OMP_NUM_THREADS to train on all {usable} processors")
    return Diagnosis("ok", "CPU", text)


def _computes(name: str, device: str, detail: str) -> Diagnosis:
    """Whether a device adds up: a driver that does not fit shows only when something is computed."""
    import torch

    try:
        total = torch.ones(64, 64, device=device).matmul(torch.ones(64, 64, device=device)).sum().item()
    except RuntimeError as error:
        remedy = "install the torch build and the driver that fit together, or use --device cpu"
        return Diagnosis("fail", name, f"{detail}; cannot compute ({_in_one_line(error)})", remedy)
    if total != 64**3:
        return Diagnosis("fail", name, f"{detail}; computes {total} instead of {64**3}", "use --device cpu")
    return Diagnosis("ok", name, detail)


def _disk() -> Iterator[Diagnosis]:
    """Where runs, packed images and data sets are written."""
    from ctfgan.data.published import data_home

    yield _writable("working folder", Path.cwd(), "change to a folder of yours, or use --out")
    yield _writable("cache", cache_folder(), "set CTFGAN_CACHE to a folder of yours")
    yield _writable("data folder", data_home(), "set CTFGAN_DATA to a folder of yours")


def _writable(name: str, folder: Path, remedy: str) -> Diagnosis:
    """Really write and remove; a folder that is not there yet is tried where it would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".ctfgan-doctor-", dir=place) as probe:
            Path(probe, "probe").write_bytes(b"probe")
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Diagnosis("fail", name, f"{folder} cannot be written ({_in_one_line(error)})", remedy)
    text = f"{folder}{'' if folder.exists() else ' (will be made)'}, {format_bytes(free)} free"
    if free < NO_ROOM:
        return Diagnosis("fail", name, text, f"free some space, or {remedy}")
    if free < LITTLE_ROOM:
        return Diagnosis("warn", name, text, f"a run and its checkpoints may not fit; free some space, or {remedy}")
    return Diagnosis("ok", name, f"{text}, writable")


def _self_test(device: str) -> Iterator[Diagnosis]:
    """Train a tiny CTF-GAN on glyphs, resume from the middle, sample: everything finite, all bits the same."""
    from ctfgan.recipes.overlay import recipe
    from ctfgan.runs.new_run import train
    from ctfgan.runs.resumed_run import resume
    from ctfgan.storage.run_folder import BUNDLE, RunFolder

    started = time.monotonic()
    with _temporary_folder() as folder:
        run, again = folder / "run", folder / "again"
        train(recipe("ctf-glyphs", *SETTINGS, f"device={device}"), run)
        yield _training(run, time.monotonic() - started)
        # As if it had been stopped at the check in the middle of stage 2.
        shutil.copytree(run, again)
        shutil.rmtree(again / BUNDLE)
        shutil.rmtree(RunFolder(again).checkpoints()[-1])
        resume(again)
        yield _resuming(run, again)
        yield _sampling(run, device)
    yield Diagnosis("ok", "took", f"{time.monotonic() - started:.1f} s")


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder with a cache in it that nobody else sees."""
    before = os.environ.get("CTFGAN_CACHE")
    with tempfile.TemporaryDirectory(prefix="ctfgan-doctor-") as folder:
        os.environ["CTFGAN_CACHE"] = str(Path(folder, "cache"))
        try:
            yield Path(folder)
        finally:
            del os.environ["CTFGAN_CACHE"]
            if before is not None:
                os.environ["CTFGAN_CACHE"] = before


def _training(run: Path, seconds: float) -> Diagnosis:
    from ctfgan.storage.run_folder import RunFolder

    lines = [line for line in RunFolder(run).journal().read("step") if line["stage"] == "generate"]
    first, last = lines[0], lines[-1]
    rate = (last["step"] - first["step"]) / max(last["seconds"] - first["seconds"], 0.01)
    detail = (
        f"{2 * STEPS} steps of a tiny CTF-GAN in {seconds:.1f} s with all preparation; {rate:.1f} steps/s in stage 2"
    )
    return Diagnosis("ok", "trains", detail)


def _resuming(run: Path, again: Path) -> Diagnosis:
    import torch

    from ctfgan.storage.run_folder import DATA, RunFolder

    whole, resumed = (RunFolder(path).load(RunFolder(path).checkpoints()[-1]).tensors for path in (run, again))
    if not all(torch.isfinite(whole[name]).all() for name in whole):
        return Diagnosis(
            "fail", "weights", "are not finite after training", "try --device cpu; report this if it fails"
        )
    differing = sum(not torch.equal(whole[name], resumed[name]) for name in whole)
    if not differing:
        return Diagnosis("ok", "resumes", f"to the same bits ({len([*whole])} tensors)")
    detail = f"{differing} of {len([*whole])} tensors differ after resuming"
    if RunFolder(run).read_json(DATA)["device"].startswith("cpu"):
        return Diagnosis("fail", "resumes", detail, "set OMP_NUM_THREADS to a fixed number; report this if it stays")
    return Diagnosis("ok", "resumes", f"{detail}: a GPU adds up in an order of its own")


def _sampling(run: Path, device: str) -> Diagnosis:
    import numpy as np

    from ctfgan.sampling.model import load

    model = load(run, device=device)
    first, second = (model.sample(["A", "B"], 4, seed=1).images for _ in range(2))
    if first.shape != (8, 16, 16, 1) or not np.array_equal(first, second):
        detail = f"{first.shape} instead of (8, 16, 16, 1), or other images of the same seed"
        return Diagnosis("fail", "samples", detail, "try --device cpu; report this if it fails too")
    return Diagnosis("ok", "samples", "from its bundle, the same images for the same seed")
