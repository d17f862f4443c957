"""Bundles that somebody made to do harm, hashes made right: one sentence each, nothing run, nothing taken."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import resource
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ctfgan.bundle.bundle import load_bundle
from ctfgan.core.errors import BundleError, RunError
from ctfgan.core.files import sha256
from ctfgan.storage.run_folder import RunFolder

Damage = Callable[[Path], None]
HEARD: list[tuple[str, tuple[Any, ...]]] = []
LISTENS = [False]


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if LISTENS[0] and event in ("pickle.find_class", "open", "exec", "os.system", "subprocess.Popen", "socket.connect"):
        HEARD.append((event, arguments))


sys.addaudithook(_hear)  # for the life of the process: there is no way to take one off


@contextmanager
def main_only() -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    HEARD.clear()
    LISTENS[0] = True
    try:
        yield HEARD
    finally:
        LISTENS[0] = False


@pytest.fixture
def bundle(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run / "bundle", tmp_path / "bundle"))


def forged(bundle: Path) -> None:
    """Make the hashes right."""
    provenance = json.loads((bundle / "provenance.json").read_text())
    there = [name for name in provenance["sha256"] if (bundle / name).exists()]
    provenance["sha256"] = {name: sha256(bundle / name) for name in there}
    (bundle / "provenance.json").write_text(json.dumps(provenance))


def text(name: str, content: str | bytes) -> Damage:
    return lambda bundle: (
        (bundle / name).write_bytes(content.encode() if isinstance(content, str) else content) and None
    )


def changed(name: str, **values: object) -> Damage:
    """Top-level values of a JSON file; of ``shape`` its own."""

    def apply(bundle: Path) -> None:
        content = json.loads((bundle / name).read_text())
        for key, value in values.items():
            content[key] = {**content[key], **value} if isinstance(value, dict) and key in content else value
        (bundle / name).write_text(json.dumps(content))

    return apply


def header(change: Callable[[dict[str, Any]], object], name: str = "model.safetensors") -> Damage:
    """The JSON at the beginning of the weights, or of another file of tensors."""

    def apply(bundle: Path) -> None:
        data = (bundle / name).read_bytes()
        size = int.from_bytes(data[:8], "little")
        content = json.loads(data[8 : 8 + size])
        change(content)
        encoded = json.dumps(content).encode()
        (bundle / name).write_bytes(len(encoded).to_bytes(8, "little") + encoded + data[8 + size :])

    return apply


def claimed(length: int) -> Damage:
    """A header that says it is that long."""
    return text("model.safetensors", length.to_bytes(8, "little") + b"{}" + bytes(100))


def weight(value: float) -> Damage:
    def apply(bundle: Path) -> None:
        tensors = load_file(bundle / "model.safetensors")
        tensors["generator_a.to_image.bias"].fill_(value)
        save_file(tensors, bundle / "model.safetensors")

    return apply


def npy(shape: tuple[int, ...], dtype: str = "|u1", data: bytes = b"") -> bytes:
    line = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\1\0" + len(line).to_bytes(2, "little") + line + data


def bank(**members: bytes) -> Damage:
    """A bank of other members; those that are not named are small and right."""

    def apply(bundle: Path) -> None:
        with zipfile.ZipFile(bundle / "low_quality_bank.npz") as old:
            kept = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(bundle / "low_quality_bank.npz", "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in {**kept, **{f"{name}.npy": data for name, data in members.items()}}.items():
                packed.writestr(name, data)

    return apply


def offsets_of(content: dict[str, Any], source: str, target: str) -> None:
    content[target]["data_offsets"] = content[source]["data_offsets"]


BIAS = "generator_a.to_image.bias"
HOSTILE: dict[str, tuple[Damage, str]] = {
    "a header of 2**60 bytes": (claimed(2**60), "claims 1,152,921,504,606,846,976 bytes"),
    "a header of 200 MB": (claimed(200 << 20), "claims 209,715,200 bytes"),
    "tensors in the same place": (
        header(lambda c: offsets_of(c, "generator_a.to_image.weight", BIAS)),
        "model.safetensors",
    ),
    "offsets beyond the file": (header(lambda c: c[BIAS].update(data_offsets=[2**40, 2**40 + 4])), "model.safetensors"),
    "another type of the same size": (header(lambda c: c[BIAS].update(dtype="I32")), "is I32"),
    "a type that nobody knows": (header(lambda c: c[BIAS].update(dtype="X9")), "model.safetensors"),
    "a negative side": (header(lambda c: c[BIAS].update(shape=[-1])), "model.safetensors"),
    "one tensor more": (
        header(lambda c: c.update(evil={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})),
        "evil",
    ),
    "not-a-numbers": (weight(float("nan")), "not finite"),
    "infinite weights": (weight(float("inf")), "not finite"),
    "a million classes claimed": (changed("classes.json", shape={"num_classes": 10**6}), "for a model of 1,000,000"),
    "classes for 100 GB": (
        changed("classes.json", shape={"num_classes": 2**62}),
        "for a model of 4,611,686,018,427,387,904",
    ),
    "a negative number of classes": (changed("classes.json", shape={"num_classes": -1}), "greater than or equal to 0"),
    "a million real names": (
        changed(
            "classes.json", classes=[str(n) for n in range(10**6)], shape={"num_classes": 10**6}, label_of_class=None
        ),
        "the recipe makes it",
    ),
    "networks for 100 GB": (changed("recipe.json", method={"networks": {"noise": 10**12}}), "tensor"),
    "no networks at all": (changed("recipe.json", data={"resolution": 2**31}), "resolution is 2147483648"),
    "a class name twice": (changed("classes.json", classes=["A", "B", "A", "D"]), "'A' is given more than once"),
    "a class name of two lines": (changed("classes.json", classes=["A", "B\nC", "D", "E"]), "control a terminal"),
    "a class name that clears the screen": (
        changed("classes.json", classes=["A", "\x1b[2J", "D", "E"]),
        "control a term",
    ),
    "a class name that runs backwards": (
        changed("classes.json", classes=["A", "\u202egnp", "D", "E"]),
        "control a term",
    ),
    "a class name that is no text": (changed("classes.json", classes=["A", "\ud800", "D", "E"]), "control a terminal"),
    "an empty class name": (changed("classes.json", classes=["A", "", "D", "E"]), "empty name"),
    "class names that are numbers": (changed("classes.json", classes=[1, 2, 3, 4]), "valid string"),
    "class names in one text": (changed("classes.json", classes="ABCD"), "valid tuple"),
    "labels beyond all numbers": (changed("classes.json", label_of_class=[2**80, 0, 1, 2]), "do not fit together"),
    "JSON without an end of depth": (text("classes.json", "[" * 10**6), "nested too deeply"),
    "a number of a million digits": (text("recipe.json", '{"seed": ' + "9" * 10**6 + "}"), "do not fit together"),
    "more text than is read": (text("recipe.json", b" " * (17 << 20)), "more than the 16,777,216 that are read"),
    "a list for a recipe": (text("recipe.json", "[1]"), "no JSON object"),
    "no UTF-8": (text("classes.json", b'{"classes": ["\xff"]}'), "do not fit together"),
    "a bank of 10 GB of zeros": (bank(images=npy((10**9, 12, 12, 1)), labels=npy((10**9,), "<i8")), "promises"),
    "a bank of too many images": (
        bank(images=npy((50_000, 12, 12, 1), data=bytes(50_000 * 144)), labels=npy((50_000,), "<i8", bytes(400_000))),
        "holds 50,000 images; a bundle has 1 to ",
    ),
    "a bank of objects": (
        bank(images=npy((1,), "|O", pickle.dumps([print])), labels=npy((1,), "<i8", bytes(8))),
        "not plain numbers",
    ),
    "labels that are no numbers": (bank(labels=npy((36,), "<f8", bytes(288))), "labels float64"),
    "a bank that is no archive": (text("low_quality_bank.npz", b"PK\3\4 no"), "is no .npz file"),
    "a bank that climbs out of its folder": (
        lambda bundle: zipfile.ZipFile(bundle / "low_quality_bank.npz", "w").writestr("../evil.npy", npy((0,))),
        "holds no images and labels",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused_in_one_sentence(bundle: Path, name: str) -> None:
    check_refused(bundle, *HOSTILE[name])


def check_refused(bundle: Path, damage: Damage, message: str) -> None:
    damage(bundle)
    forged(bundle)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError) as error:
        load_bundle(bundle)
    said = str(error.value)
    assert message in said
    assert len(said.splitlines()) == 1
    assert len(said) < 1_000
    assert "; copy the whole bundle folder again" in said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10  # kB; a million names take some


CODES = "class_codes.safetensors"


def codes(**tensors: torch.Tensor | None) -> Damage:
    """Codes of which some tensors are others, or missing."""

    def apply(bundle: Path) -> None:
        found = {**load_file(bundle / CODES), **{name.replace("__", "."): value for name, value in tensors.items()}}
        save_file({name: value for name, value in found.items() if value is not None}, bundle / CODES)

    return apply


HOSTILE_CODES: dict[str, tuple[Damage, str]] = {
    "a header of 2**60 bytes": (text(CODES, (2**60).to_bytes(8, "little") + b"{}" + bytes(100)), "claims 1,152,921"),
    "no file of tensors": (text(CODES, b"no"), "class_codes.safetensors"),
    "no file at all": (lambda bundle: (bundle / CODES).unlink(), "class_codes.safetensors'"),
    "codes of more classes": (codes(classes=torch.zeros(5, 16).half()), "F16 (5, 16), the recipe makes it F16 (4, 16)"),
    "longer codes": (codes(classes=torch.zeros(4, 17).half()), "F16 (4, 17), the recipe makes it F16 (4, 16)"),
    "codes in full precision": (codes(classes=torch.zeros(4, 16)), "is F32 (4, 16), the recipe makes it F16 (4, 16)"),
    "codes of more labels": (codes(low_quality_labels=torch.zeros(9, 16).half()), "F16 (9, 16), the recipe makes it"),
    "marks that are numbers": (codes(with_reals=torch.ones(4)), "is F32 (4,), the recipe makes it BOOL (4,)"),
    "an infinite code": (
        codes(classes=torch.full((4, 16), torch.inf).half()),
        "'classes' of class_codes.safetensors ho",
    ),
    "a mean that is no number": (codes(mean=torch.full((16,), torch.nan)), "holds values that are not finite"),
    "a mean of another length": (codes(mean=torch.zeros(15)), "the recipe makes it"),
    "no mean": (codes(mean=None), "is missing, the recipe makes it F32 (16,)"),
    "a classifier without features": (codes(classifier__to_features__weight=None), "is missing, the recipe makes it"),
    "a classifier of colour": (codes(classifier__trunk__0__weight=torch.zeros(24, 3, 3, 3)), "the recipe makes it F32"),
    "a classifier of no width": (
        codes(classifier__trunk__0__weight=torch.zeros(0, 1, 3, 3)),
        "the recipe makes it F32",
    ),
    "a classifier wider than memory": (
        header(lambda c: c["classifier.trunk.0.weight"].update(shape=[2**50, 1, 3, 3]), CODES),
        "class_codes.safetensors",
    ),
    "a classifier wider than memory, of nothing": (
        codes(classifier__trunk__0__weight=torch.zeros(2**50, 0, 3, 3)),
        "no classifier",
    ),
    "weights beyond all numbers": (
        codes(classifier__to_features__bias=torch.full((16,), torch.nan)),
        "holds values that are not finite",
    ),
    "one tensor more": (codes(evil=torch.zeros(3)), "'evil' of class_codes.safetensors is F32 (3,)"),
    "no codes of labels, and no table of them": (codes(low_quality_labels=None), "of model.safetensors is F32"),
    "codes longer than memory": (
        changed("recipe.json", method={"networks": {"class_tables": "codes", "class_code": 2**60}}),
        "do not fit together",
    ),
}


@pytest.mark.parametrize("name", HOSTILE_CODES)
def test_hostile_class_codes_are_refused_in_one_sentence(coded_run: Path, tmp_path: Path, name: str) -> None:
    damage, message = HOSTILE_CODES[name]
    check_refused(Path(shutil.copytree(coded_run / "bundle", tmp_path / "bundle")), damage, message)


@pytest.mark.parametrize("listed", ["../x", "/etc/passwd", "model.safetensors/../../x", "evil.py", ""])
def test_hashes_of_other_files_are_refused_and_those_not_opened(bundle: Path, listed: str) -> None:
    provenance = json.loads((bundle / "provenance.json").read_text())
    provenance["sha256"][listed] = "0" * 64
    (bundle / "provenance.json").write_text(json.dumps(provenance))
    with main_only() as events, pytest.raises(BundleError, match="not a bundle's files; copy"):
        load_bundle(bundle)
    assert {str(arguments[0]) for event, arguments in events if event == "open"} == {str(bundle / "provenance.json")}


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        '{"sha256": []}',
        '{"sha256": {"model.safetensors": 1}}',
        '{"sha256": ["model.safetensors", "recipe.json", "classes.json"]}',
        "[" * 10**6,
    ],
)
def test_a_list_of_hashes_that_is_none_is_damage(bundle: Path, content: str) -> None:
    (bundle / "provenance.json").write_text(content)
    with pytest.raises(BundleError, match=r"provenance\.json is damaged .*; copy the whole bundle folder again"):
        load_bundle(bundle)


def test_loading_unpickles_nothing_and_opens_the_files_of_the_bundle_alone(bundle: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text("raise SystemExit('run')")
    changed("recipe.json", data={"high_quality": str(trap), "reference": str(trap)}, start={"path": str(trap)})(bundle)
    (bundle / "sitecustomize.py").write_text("raise SystemExit('run')")
    (bundle / "model.pkl").write_bytes(pickle.dumps(print))
    forged(bundle)
    load_bundle(bundle)  # what is imported only now is not of interest
    with main_only() as events:
        load_bundle(bundle)
    assert {event for event, _ in events} == {"open"}
    opened = {Path(arguments[0]) for _, arguments in events if isinstance(arguments[0], str | Path)}
    opened.discard(Path("/proc/meminfo"))  # how much memory is free
    assert opened == {
        bundle / name
        for name in ("model.safetensors", "recipe.json", "classes.json", "low_quality_bank.npz", "provenance.json")
    }


def test_links_are_followed_as_in_the_cache_of_the_hub_and_must_have_the_right_hash(
    bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "blob").write_bytes((bundle / "model.safetensors").read_bytes())
    (bundle / "model.safetensors").unlink()
    (bundle / "model.safetensors").symlink_to(tmp_path / "blob")
    load_bundle(bundle)
    (bundle / "model.safetensors").unlink()
    (bundle / "model.safetensors").symlink_to("/dev/zero")
    with pytest.raises(BundleError, match=r"model\.safetensors is missing"):
        load_bundle(bundle)


# Checkpoints


class Attack:
    """Unpickled without care, it makes a file."""

    def __init__(self, victim: Path) -> None:
        self._victim = str(victim)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return open, (self._victim, "w")


def checkpoint(finished_run: Path, tmp_path: Path) -> tuple[RunFolder, Path]:
    run = RunFolder(Path(shutil.copytree(finished_run, tmp_path / "run")))
    return run, run.checkpoints()[-1]


@pytest.mark.parametrize("kind", ["zip", "old", "plain pickle", "legacy tar"])
def test_a_checkpoint_that_would_run_code_runs_none(finished_run: Path, tmp_path: Path, kind: str) -> None:
    run, folder = checkpoint(finished_run, tmp_path)
    victim, content = tmp_path / "victim", io.BytesIO()
    match kind:
        case "zip":
            torch.save({"a": Attack(victim)}, content)
        case "old":
            torch.save({"a": Attack(victim)}, content, _use_new_zipfile_serialization=False)
        case "plain pickle":
            pickle.dump(Attack(victim), content)
        case _:
            import tarfile

            with tarfile.open(fileobj=content, mode="w") as tar:
                for name in ("sys_info", "pickle", "tensors", "storages"):
                    data = pickle.dumps(Attack(victim), 2)
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    (folder / "state.pt").write_bytes(content.getvalue())
    manifest = json.loads((folder / "checkpoint.json").read_text())
    del manifest["digest"]  # the forger makes every hash fit
    manifest["sha256"]["state.pt"] = sha256(folder / "state.pt")
    manifest["digest"] = hashlib.sha256(json.dumps(manifest, indent=1).encode()).hexdigest()
    (folder / "checkpoint.json").write_text(json.dumps(manifest, indent=1))
    with main_only() as events, pytest.raises(RunError, match=r"state\.pt is missing or damaged; restore"):
        run.load(folder)
    assert not victim.exists()
    assert "pickle.find_class" not in {event for event, _ in events}


@pytest.mark.parametrize("listed", ["../../../x", "/etc/passwd", "a/b"])
def test_hashes_of_files_outside_a_checkpoint_are_damage(finished_run: Path, tmp_path: Path, listed: str) -> None:
    run, folder = checkpoint(finished_run, tmp_path)
    manifest = json.loads((folder / "checkpoint.json").read_text())
    manifest["sha256"][listed] = "0" * 64
    (folder / "checkpoint.json").write_text(json.dumps(manifest))
    with main_only() as events, pytest.raises(RunError, match=r"checkpoint\.json is missing or damaged"):
        run.load(folder)
    assert not any(listed in str(arguments[0]) for event, arguments in events if event == "open")


def test_a_whole_checkpoint_is_loaded_without_the_pickle_module(finished_run: Path) -> None:
    run = RunFolder(finished_run)
    with main_only() as events:
        assert run.load(run.checkpoints()[-1]).state
    assert "pickle.find_class" not in {event for event, _ in events}


def test_the_ear_hears_what_it_is_for() -> None:
    with main_only() as events:
        pickle.loads(pickle.dumps(np.float64))
    assert "pickle.find_class" in {event for event, _ in events}
