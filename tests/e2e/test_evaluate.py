"""``ctfgan evaluate`` with all that can be asked of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import ctfgan
from ctfgan.evaluation import evaluator
from ctfgan.metrics import scores

PLUGIN = """
import torch
NAME = "corner"
class Corner(torch.nn.Module):
    def forward(self, images):
        return images[:, 0, :2, :2].flatten(1).float()
def load(device):
    return Corner()
"""


def test_every_figure_is_written_under_its_extractors_name_with_its_numbers_of_images(
    run_cli: Callable, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scores, "FEWEST_REAL", 4)
    shutil.copytree(finished_run, "run")
    Path("corner.py").write_text(PLUGIN)
    done = run_cli("evaluate", "run", "--extractor", "corner.py", "--images", 120, "--per-class", 2,
                   "--cas", "--cas-seeds", 2)  # fmt: skip
    assert done.code == 0, done
    for words in ("ctfgan-recogniser-", "FID-corner", "recogniser score", "too few images", "precision",
                  "per class", "floor: real against real",
                  "HQ + augmentation + LQ + generated", "2 seeds, 15 steps each", "gain over HQ",
                  "hardest classes, HQ + augmentation + LQ -> with generated images",
                  "note: with only 16 held-out real images", "120 / 16",
                  "8 / 8"):  # fmt: skip
        assert words in done.out
    assert "FID ↓" not in done.out  # only the published Inception's distance is called that

    figures = json.loads(Path("run/figures.json").read_text())
    assert figures["reported_set"] == "samples, held-out LQ bank"
    for name, row in figures["rows"].items():
        assert set(row) == {"recogniser", "corner"}
        assert {(found["fake"], found["real"]) for found in row.values()} == (
            {(8, 8)} if name.startswith("floor") else {(120, 16)}
        )
        assert row["corner"]["score"] is None
        assert row["corner"]["top_1"] is None
        assert set(row["recogniser"]["per_class"]["distances"]) == {"A", "D"}
    several = figures["super_resolution"]
    assert (several["images"], several["results"], several["bank"]) == (8, 10, "held-out LQ bank")
    assert set(several["rows"]) == {"G_A behind G_LH", "G_LH alone", "other real images of the class"}
    assert all(0 < row["psnr"] < 58.9 and row["spread"] > 0 for row in several["rows"].values())
    assert several["rows"]["other real images of the class"]["diversity"] == pytest.approx(1), "four images each"
    assert "enhance and vary: 10 results for each of 8 images of the held-out LQ bank" in done.out
    assert "LR-PSNR" in done.out
    told = figures["classification"]
    assert len(told["arms"]) == 8
    *_, everything = told["added"].values()
    assert told["arms"][everything]["images"] == {"HQ": 93, "LQ": 36, "generated": 120}
    assert all(len(arm["by_seed"]) == 2 for arm in told["arms"].values())
    gain = told["arms"][everything]["generated_add"]
    assert gain["interval"][0] <= gain["difference"] <= gain["interval"][1]
    assert (told["held_out"], len(told["hardest"])) == (16, 4)
    assert {card["resize"] for card in figures["protocol"]["extractors"].values()} == {"none", "by the plug-in"}
    assert "FID-corner" in Path("run/bundle/README.md").read_text()

    assert run_cli("report", "run").code == 0
    page = Path("run/report.html").read_text()
    assert "Classification accuracy score" in page
    assert "generated images add" in page or "generated images take" in page

    compared = run_cli("compare", "run")
    assert compared.code == 0, compared
    assert "corner" in compared.out
    figures.pop("format")
    Path("run/figures.json").write_text(json.dumps(figures))
    refused = run_cli("compare", "run", "--out", "other.png")
    assert (refused.code, "run 'ctfgan evaluate run' again" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--extractor", "none.py"], "none.py does not exist; give a Python file"),
        (["--extractor", "bad.py"], "bad.py: NAME is None"),
        (["--extractor", "corner.py", "--extractor", "corner.py"], "two extractors share a name among corner, corner"),
        (["--inception-weights", "none.pth"], "none.pth does not exist; give the file weights-inception-2015-12-05"),
        (["--images", "10"], "10 is not in the range x>=100"),
        (["--device", "gpu9"], "device 'gpu9' is not available here"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_data_are_opened(
    refused: Callable, finished_run: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    (tmp_path / "bad.py").write_text("")
    (tmp_path / "corner.py").write_text(PLUGIN)
    (tmp_path / "run/data.json").unlink()  # whoever opens the data stumbles here
    assert message in refused("evaluate", "run", *options)


def test_the_python_call_holds_numbers_to_the_rules_of_the_settings(finished_run: Path) -> None:
    import ctfgan

    with pytest.raises(ctfgan.CtfganError, match=r"evaluation.images is 10, but input should be greater than"):
        ctfgan.evaluate(finished_run, images=10)


def test_samples_that_are_read_as_their_class_stand_beside_all_samples(
    run_cli: Callable, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluator, "FEWEST_READABLE", 10)
    shutil.copytree(finished_run, "run")
    done = run_cli("evaluate", "run", "--images", 120, "--keep-readable", "--top-k", 3, "--tries", 2)
    assert done.code == 0, done
    figures = json.loads(Path("run/figures.json").read_text())
    chosen = "samples read as their class (top-3, up to 2 tries), training LQ bank"
    all_of_them, readable = (figures["rows"][name]["recogniser"] for name in ("samples, training LQ bank", chosen))
    second = figures["rows"][chosen]["second-recogniser"]
    assert (second["fake"], second["top_1"] == readable["top_1"]) == (readable["fake"], False), "another one's opinion"
    assert figures["protocol"]["extractors"]["second-recogniser"]["name"].startswith("second ctfgan-recogniser-")
    told = figures["rejections"][chosen]
    assert (all_of_them["fake"], sum(told["asked"])) == (120, 120)
    assert 10 <= readable["fake"] == sum(told["kept"]) < 120
    assert readable["top_1"] > all_of_them["top_1"]
    assert (readable["top_5"], figures["reported_set"]) == (1, "samples, held-out LQ bank")
    assert done.out.count("recogniser itself chose the samples that are read as their class") == 1
    assert f"{chosen}: drew {sum(told['drawn']):,} images to keep {readable['fake']} of 120" in done.out
    # The same images as in a set: seed, bank and recogniser are the same.
    model = ctfgan.load("run", "cpu")
    sampler = model.rejection_sampler("run", top_k=3, tries=2)
    ids = model.first_images(None, told["asked"][0])
    assert (model.kept_images(ids, sampler, seed=1).tries > 0).sum() == readable["fake"]

    page = run_cli("report", "run", "--images", 100)
    assert page.code == 0, page
    assert "drew " in Path("run/report.html").read_text()
