"""CTF-GAN beside its baseline with fewer and fewer good images: the runs behind docs/results.md.

    python benchmarks/campaign.py SETTING FOLDER [--seeds 0 1 2] [--steps 1500] [--extra] [--data NAME=PATH ...]

SETTING is cifar10, tiny-imagenet, hwdb-matched or hwdb-mnist; data are .npz files named cifar10, tiny-imagenet, hwdb
(all three as prepare_packs.py writes them) and mnist. Runs go to FOLDER/<set>/<arm>-<share>-seed<seed>; what is there
already is gone on with. The arms of the claim come first, seed by seed: the baseline with all good images, CTF-GAN
with 65 % and with 30 %. ``--extra`` adds, with the first seed, the baseline with 30 % and 10 %, CTF-GAN with 10 %,
and CTF-GAN with the paper's loss (which is its only one with foreign low-quality images). ``ctfgan compare RUN...
--csv results.csv``, one call for each data set, then makes a line of each run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ctfgan.evaluation.campaign import CampaignRun, check_campaign, run_campaign
from ctfgan.recipes.catalogue import baseline_of, named_recipe
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.paper_tables import TRANSFER_SHARE
from ctfgan.recipes.recipe import Recipe
from ctfgan.runs.context import Callbacks

CLAIM = (("projection", 1.0), ("ctf", 0.65), ("ctf", 0.3))
EXTRA = (("projection", 0.3), ("projection", 0.1), ("ctf", 0.1), ("ctf-paper-loss", 0.65), ("ctf-paper-loss", 0.3))

SETTINGS: dict[str, tuple[str, dict[str, object]]] = {
    "cifar10": ("cifar10", {"data.resolution": 32, "data.degradation.size": 16}),
    "tiny-imagenet": ("tiny-imagenet", {"data.resolution": 32, "data.degradation.size": 16}),
    "hwdb-matched": ("hwdb", {"data.resolution": 24, "data.degradation.size": 12}),
    "hwdb-mnist": ("hwdb", {"data.resolution": 24, "data.low_quality": "mnist"}),
}


def arm(name: str, share: float, setting: str, steps: int, seed: int, data: dict[str, str]) -> CampaignRun:
    """One run. The baseline sees no low-quality images, so that both settings of a set share its runs."""
    where, changes = SETTINGS[setting]
    changes = {key: data.get(str(value), value) for key, value in changes.items()}
    transfer = round(TRANSFER_SHARE * steps)
    stages: dict[str, object] = {
        "method.transfer.steps": transfer, "method.transfer.patience": None, "method.generate.steps": steps - transfer
    }  # fmt: skip
    common: dict[str, object] = {
        "data.high_quality": data[where], "data.high_quality_fraction": share, "seed": seed, "device": "cpu",
        "training.tracker": None,
    }  # fmt: skip
    recipe = with_settings(named_recipe("ctf-folders"), changes | stages | common, ())
    folder = setting
    if name == "projection":
        recipe, folder = baseline_like(recipe), where
    if name == "ctf-paper-loss":
        paper: dict[str, object] = {
            "method.transfer.consistency": 0.0, "method.generate.consistency": 0.0,
            "method.features.noise_maps": "tiled" if setting != "hwdb-mnist" else "spatial",
        }  # fmt: skip
        recipe = with_settings(recipe, paper, ())
    return CampaignRun(f"{folder}/{name}-{share:g}-seed{seed}", recipe)


def baseline_like(recipe: Recipe) -> Recipe:
    """The baseline of that recipe, without what only low-quality images need."""
    baseline = baseline_of(recipe)
    named = named_recipe("projection-folders")
    data = baseline.data.model_copy(update={"degradation": named.data.degradation})
    return baseline.model_copy(update={"name": named.name, "data": data})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1_500, help="generator steps of each run, over its stages")
    parser.add_argument(
        "--extra", action="store_true", help="also the arms that the claim does not rest on, first seed"
    )
    parser.add_argument("--data", metavar="NAME=PATH", nargs="+", required=True)
    asked = parser.parse_args()
    where, changes = SETTINGS[asked.setting]
    data = {name: str(Path(path).absolute()) for name, path in (given.split("=", 1) for given in asked.data)}
    for name in (where, *(str(value) for key, value in changes.items() if key == "data.low_quality")):
        if name not in data:
            parser.error(f"{asked.setting} needs --data {name}=PATH")
    arms = [(*one, seed) for seed in asked.seeds for one in CLAIM]
    if asked.extra:
        arms += [(*one, asked.seeds[0]) for one in EXTRA if asked.setting != "hwdb-mnist" or one[0] != "ctf-paper-loss"]
    runs = [arm(name, share, asked.setting, asked.steps, seed, data) for name, share, seed in arms]
    check_campaign(runs, asked.folder)
    for outcome in run_campaign(runs, asked.folder, Callbacks(say=lambda line: print(line, flush=True))):
        print(outcome.path, outcome.why_not or "done", flush=True)


if __name__ == "__main__":
    main()
