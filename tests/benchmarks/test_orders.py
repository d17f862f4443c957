from __future__ import annotations

import torch
from timed_stages import timed_stages
from torch.utils._python_dispatch import TorchDispatchMode

from ctfgan.recipes.catalogue import named_recipe

IMAGE_CHANNELS, SMALL = 3, 4


class Orders(TorchDispatchMode):
    """Remembers the pools and convolutions that work on large maps in another order than channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.wrong: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = function.__name__.split(".")[0]
        if name in ("convolution", "avg_pool2d"):
            maps = [a for a in args[:1] if a.shape[1] > IMAGE_CHANNELS and a.shape[-1] > SMALL]
            self.seen += len(maps)
            bad = [tuple(a.shape) for a in maps if not a.is_contiguous(memory_format=torch.channels_last)]
            self.wrong += [f"{name} {shape}" for shape in bad]
        return function(*args, **(kwargs or {}))


def test_all_large_maps_of_a_step_stay_in_the_order_that_a_cpu_is_fast_in() -> None:
    for name in ("ctf-folders", "projection-folders"):
        for stage in timed_stages(named_recipe(name), 3, 4, torch.device("cpu")).values():
            with Orders() as orders:
                stage.step()
            assert orders.seen > 20
            assert not orders.wrong, f"{stage.name}: {sorted(set(orders.wrong))}"
