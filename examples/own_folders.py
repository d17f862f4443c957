"""Two folders in, a generator out: makes a folder of good and one of cheap pictures, trains on both, measures, samples.

    python examples/own_folders.py shapes

Replace `draw_folders` by folders of your own: one subfolder per class, any image format and size. The cheap images here
are of the same classes; they may have other classes or none. The 3,000 steps of the default take a few minutes on two
CPU cores; --steps 200 shows that all of it works.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

import ctfgan

SHAPES = ("circle", "square", "triangle", "cross")


def draw(shape: str, side: int, chance: random.Random) -> Image.Image:
    """One picture of a shape: place, size and colour by chance."""
    picture = Image.new("RGB", (side, side), (chance.randrange(60), chance.randrange(60), chance.randrange(60)))
    pen = ImageDraw.Draw(picture)
    radius = chance.uniform(0.2, 0.35) * side
    x, y = (chance.uniform(radius, side - radius) for _ in range(2))
    colour = (chance.randrange(120, 256), chance.randrange(120, 256), chance.randrange(120, 256))
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    elif shape == "triangle":
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
    else:
        pen.line([(x - radius, y), (x + radius, y)], fill=colour, width=max(side // 10, 1))
        pen.line([(x, y - radius), (x, y + radius)], fill=colour, width=max(side // 10, 1))
    return picture


def draw_folders(folder: Path, good: int, cheap: int) -> tuple[Path, Path]:
    """Good pictures of 32x32, and cheap ones: 12x12, blurred, saved as rough JPEG."""
    chance = random.Random(0)
    for shape in SHAPES:
        for kind in ("good", "cheap"):
            (folder / kind / shape).mkdir(parents=True, exist_ok=True)
        for number in range(good):
            draw(shape, 32, chance).save(folder / "good" / shape / f"{number:04d}.png")
        for number in range(cheap):
            blurred = draw(shape, 24, chance).filter(ImageFilter.GaussianBlur(1)).resize((12, 12))
            blurred.save(folder / "cheap" / shape / f"{number:04d}.jpg", quality=60)
    return folder / "good", folder / "cheap"


def main() -> None:
    """Draw, train, measure, sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a new folder for everything")
    parser.add_argument("--steps", type=int, default=3_000, help="generator steps, half of them in the first stage")
    parser.add_argument("--good", type=int, default=150, help="good pictures of each class")
    parser.add_argument("--cheap", type=int, default=600, help="cheap pictures of each class")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="of the recipe"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)

    good, cheap = draw_folders(arguments.out, arguments.good, arguments.cheap)
    recipe = ctfgan.recipe(
        "ctf-folders",
        f"data.high_quality={good}",
        f"data.low_quality={cheap}",
        f"transfer.steps={arguments.steps // 2}",
        f"generate.steps={arguments.steps - arguments.steps // 2}",
        *arguments.settings,
    )
    run = ctfgan.train(recipe, arguments.out / "run")
    result = ctfgan.evaluate(run)
    print(result.summary()[result.reported_set])
    print(result.protocol.sentence())

    model = ctfgan.load(run)
    samples = model.sample(["circle", "cross"], 4, seed=1)
    print(f"{len(samples.images)} images of {samples.images.shape[1:]}, labels {samples.labels.tolist()}")


if __name__ == "__main__":
    main()
