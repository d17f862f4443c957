from __future__ import annotations

import torch

from ctfgan.distributed.random_streams import BatchRng
from ctfgan.training.objectives.adversarial import paste_patches


def test_boxes_enclose_exactly_the_pixels_that_changed() -> None:
    """Images of zeros with donors of ones: the box must be where the ones are, found by looking."""
    batch_rng = BatchRng.of(0)
    images, donors = torch.zeros(200, 3, 24, 24), torch.ones(200, 3, 24, 24)
    pasted, boxes = paste_patches(images, donors, batch_rng)
    for image, box in zip(pasted, boxes, strict=True):
        rows = image[0].any(dim=1).nonzero().flatten()
        columns = image[0].any(dim=0).nonzero().flatten()
        x0, y0, x1, y1 = (box * 24).round().int().tolist()
        assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (x0, x1, y0, y1)
        assert image[:, y0:y1, x0:x1].all()
        assert image.sum() == 3 * (x1 - x0) * (y1 - y0)


def test_sides_reach_from_a_quarter_to_a_half_and_places_reach_the_edges() -> None:
    _, boxes = paste_patches(torch.zeros(3_000, 1, 16, 16), torch.ones(3_000, 1, 16, 16), BatchRng.of(1))
    widths = ((boxes[:, 2] - boxes[:, 0]) * 16).round().int()
    assert widths.unique().tolist() == [4, 5, 6, 7, 8]
    assert boxes.min() == 0
    assert boxes.max() == 1


def test_the_patch_is_a_connected_piece_of_the_donor() -> None:
    """Every donor pixel has its own value, so the patch tells where it was cut from."""
    donors = torch.arange(1, 257, dtype=torch.float32).reshape(1, 1, 16, 16).expand(50, -1, -1, -1)
    pasted, boxes = paste_patches(torch.zeros(50, 1, 16, 16), donors, BatchRng.of(2))
    for image, box in zip(pasted, boxes, strict=True):
        x0, y0, x1, y1 = (box * 16).round().int().tolist()
        patch = image[0, y0:y1, x0:x1]
        row, column = divmod(int(patch[0, 0]) - 1, 16)
        assert torch.equal(patch, donors[0, 0, row : row + y1 - y0, column : column + x1 - x0])


def test_the_originals_are_not_changed() -> None:
    images = torch.zeros(2, 1, 8, 8)
    paste_patches(images, torch.ones(2, 1, 8, 8), BatchRng.of(3))
    assert not images.any()
