"""Bundles, whose hashes a forger has made right again."""

from __future__ import annotations

import hashlib
import json
import math
from functools import cache
from random import Random

import numpy as np
import torch

from ctfgan.bundle.bundle import BANK, CLASSES, MODEL, Bundle, load_bundle, save_bundle
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.metrics.eval_classifier import EvalClassifier
from ctfgan.metrics.settings import EvalClassifierSettings
from ctfgan.recipes.build import DataSpec, build_generator
from ctfgan.recipes.overlay import recipe
from ctfgan.sampling.model import Model
from ctfgan.storage.run_folder import CODES, PROVENANCE, RECIPE
from ctfgan.training.class_codes import ClassCodes, ClassEncoder, random_codes
from fuzz.changes import TEXTS, changed_bytes, changed_json, dumped, number
from fuzz.judging import Reader, check, is_clean
from fuzz.places import joined, parted, put_files, workspace
from fuzz.readers import npz

NAMES = (RECIPE, CLASSES, BANK, PROVENANCE, MODEL, CODES)
DTYPES = ("F64", "F16", "BF16", "F8_E4M3", "I64", "I32", "BOOL", "U8", "C64", "F4", "X")
CODE = 4
TINY = ("data.resolution=16", "generator_width=0.03", "discriminator_width=0.03", "features.embedding=4")


@cache
def seeds() -> list[bytes]:
    """One with matched pairing, one with independent, one without low-quality images; the first two with codes, too."""
    found = []
    for name, matched, coded in (
        ("ctf-glyphs", True, False),
        ("ctf-glyphs", False, False),
        ("projection-glyphs", False, False),
        ("ctf-glyphs", True, True),
        ("ctf-glyphs", False, True),
    ):
        form = ("class_tables=codes", f"class_code={CODE}") if coded else ("class_tables=per-class",)
        chosen = recipe(name, *(text for text in (*TINY, *form) if name == "ctf-glyphs" or "features" not in text))
        uses = chosen.method.uses_low_quality
        spec = DataSpec(num_classes=3, num_low_quality_labels=3 * uses, low_quality_size=4 * uses, channels=1)
        labels = np.array([0, 1, 2, 0])
        pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 1), dtype=np.uint8)
        bank = LowQualityBank(pixels, labels, np.arange(3) if matched else None) if uses else None
        provenance = {
            "counts": {"high_quality": 9, "low_quality": 4, "classes": 3},
            "steps": 5,
            "seeds": {},
            "versions": {},
        }
        names = ("a", "一", "c c")
        folder = workspace() / "written"
        codes = _codes(3, labels=matched) if coded else None
        generator = build_generator(chosen, spec, codes)
        save_bundle(Bundle(chosen, spec, names, names * uses, bank, generator, provenance, codes), folder)
        found.append(joined([(folder / part).read_bytes() if (folder / part).exists() else b"" for part in NAMES]))
    return found


def _codes(classes: int, *, labels: bool) -> ClassCodes:
    classifier = EvalClassifier(1, classes, EvalClassifierSettings(width=4, features=CODE)).eval()
    encoder = ClassEncoder(classifier, torch.zeros(CODE))
    drawn = random_codes(classes, CODE, classes if labels else None)
    return ClassCodes(drawn.classes, drawn.low_quality_labels, torch.ones(classes) > 0, encoder)


def change(content: bytes, rng: Random) -> bytes:
    """A value of one of the JSON files or of a header of tensors, an array of the bank, a weight, or bytes changed."""
    parts = parted(content, len(NAMES))
    which = rng.choice((0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 5, 5))
    if which in (0, 1, 3):
        try:
            value = json.loads(parts[which])
            parts[which] = dumped(changed_json(value, rng), rng)
        except (ValueError, RecursionError):
            parts[which] = changed_bytes(parts[which], rng)
    elif which == 2:
        parts[2] = npz.change(parts[2], rng) if parts[2] else rng.randbytes(rng.randrange(9))
    else:
        parts[which] = _other_weights(parts[which], rng)
    return joined(parts)


def one_input(content: bytes) -> None:
    """What is loaded is finite, has the names and shapes that its files tell, and makes images."""
    parts = parted(content, len(NAMES))
    try:
        provenance = json.loads(parts[3])
        hashes = provenance["sha256"]
        for name, part in zip(NAMES, parts, strict=True):
            if name in hashes and name != PROVENANCE:
                hashes[name] = hashlib.sha256(part).hexdigest()
        parts[3] = json.dumps(provenance).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        pass  # the damage is in the list of hashes itself
    bundle = load_bundle(put_files("bundle", NAMES, joined(parts)))
    told = json.loads(parts[1])
    check(
        list(bundle.classes) == told["classes"] and len(bundle.classes) == told["shape"]["num_classes"], "other classes"
    )
    for name in (*bundle.classes, *bundle.low_quality_classes):
        check(name != "" and is_clean(name), "a class name that cannot be shown")
    check(len(set(bundle.classes)) == len(bundle.classes), "a class name twice")
    header, body = _header(parts[4])
    for name, tensor in bundle.generator.state_dict().items():
        start, end = header[name]["data_offsets"]
        plain = np.frombuffer(body[start:end], "<f4" if header[name]["dtype"] == "F32" else "<i8")
        check(
            header[name]["dtype"] in ("F32", "I64") and tuple(header[name]["shape"]) == tuple(tensor.shape),
            "another shape",
        )
        check(bool(np.isfinite(plain).all()) and plain.tobytes() == tensor.numpy().tobytes(), "other weights")
    if bundle.codes is not None:
        header, body = _header(parts[5])
        start, end = header["classes"]["data_offsets"]
        plain = np.frombuffer(body[start:end], "<f2").reshape(len(bundle.classes), -1)
        check(bool(np.isfinite(plain).all()) and np.array_equal(plain, bundle.codes.classes.numpy()), "other codes")
    if bundle.bank is not None:
        check(bundle.bank.labels.ndim == 1 and bundle.bank.labels.min() >= -1, "labels of the bank")
        check(bundle.bank.labels.max() < len(bundle.low_quality_classes), "labels of the bank")
        check(len(bundle.bank.images) == len(bundle.bank.labels) > 0, "a bank without images")
    images = Model(bundle, "cpu").sample(n=1).images
    check(images.shape[0] == (len(bundle.classes) if bundle.recipe.method.is_conditional else 1), "no image")
    check(math.prod(images.shape[1:]) == bundle.recipe.data.resolution**2 * bundle.data_spec.channels, "no image")


def _header(weights: bytes) -> tuple[dict[str, dict[str, list[int]]], bytes]:
    size = int.from_bytes(weights[:8], "little")
    return json.loads(weights[8 : 8 + size]), weights[8 + size :]


def _other_weights(weights: bytes, rng: Random) -> bytes:
    try:
        header, body = _header(weights)
        name = rng.choice([key for key in header if key != "__metadata__"])
    except (ValueError, RecursionError, AttributeError, IndexError):
        return changed_bytes(weights, rng)
    text = b""
    match rng.randrange(9):
        case 0:
            header[name]["dtype"] = rng.choice(DTYPES)  # type: ignore[assignment]
        case 1:
            header[name]["shape"] = [number(rng), *header[name]["shape"][1:]]
        case 2:
            header[name]["data_offsets"] = rng.choice(list(header.values())).get("data_offsets", [0, 2**63])
        case 3:
            at = 4 * rng.randrange(len(body) // 4)
            odd = (float("nan"), float("inf"), -float("inf"), 1e38, -0.0)
            body = body[:at] + np.float32(rng.choice(odd)).tobytes() + body[at + 4 :]
        case 4:
            header[rng.choice(TEXTS[:4])] = header.pop(name)
        case 5:
            text = dumped(changed_json(header, rng), rng)
        case 6:
            claim = rng.choice((2**60, 2**63, 100_000_001, 99_999_999, 0, 1, 2, len(weights), 2**32))
            return claim.to_bytes(8, "little") + weights[8:]
        case 7:
            return changed_bytes(weights, rng)
        case _:
            header["__metadata__"] = rng.choice(({"format": "pt"}, {"a": 1}, [], None, {"a" * 99: "b" * 999}))  # type: ignore[assignment]
    text = text or json.dumps(header).encode(errors="replace")
    return len(text).to_bytes(8, "little") + text + body


READER = Reader("bundle", seeds, change, one_input, seconds=5.0)
