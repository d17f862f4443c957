"""Images of mixtures of classes from a frozen generator, differentiable in the weights of the mixtures."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ctfgan.bundle import Bundle
from ctfgan.chance import Chance
from ctfgan.data.images import to_float
from ctfgan.models.interfaces import Condition, Generator, Noise
from ctfgan.nn.class_tables import CLASSES, LOW_QUALITY_LABELS, table_spaces
from ctfgan.recipes.build import build_generator, with_fixed_tables
from ctfgan.recipes.recipe import CtfGan, Recipe


class Blender:
    """The generator of a bundle with the rows of its class tables given from outside.

    A class of its own is no more than rows, so a generator of n mixtures is one of n classes that shares every other
    weight with the bundle's.

    Args:
        bundle: what is mixed; it is left as it is.
        device: where images are made.
    """

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.device = device
        self._networks: dict[int, nn.Module] = {}
        self._bundle = bundle
        self._recipe = _differentiable(with_fixed_tables(bundle.recipe, bundle.shape))
        bank = bundle.bank
        self.is_matched = bank is not None and bank.label_of_class is not None
        spaces = table_spaces(bundle.generator)
        mixed = (CLASSES, LOW_QUALITY_LABELS) if self.is_matched else (CLASSES,)
        self._spaces = {f"{table}.weight": space for table, space in spaces.items() if space in mixed}
        tensors = bundle.generator.state_dict()
        self._tables = {name: tensors[name] for name in self._spaces}
        self._shared = {name: _placed(tensor, device) for name, tensor in tensors.items() if name not in self._tables}

    def images(self, candidates: Tensor, weights: Tensor, low_quality: Tensor | None, seed: int, count: int) -> Tensor:
        """``count`` images of each of n mixtures, ``(n, count, K, R, R)`` in [-1, 1], of the same noise.

        Args:
            candidates: old classes, ``(n, k)`` int64 on the CPU.
            weights: of each, ``(n, k)``; rows add up to 1.
            low_quality: with matched pairing what the images are made from, ``(n, count, K, r, r)`` in [-1, 1].
            seed: of the noise and of the draw from the bank.
            count: images of each mixture.
        """
        mixtures = len(candidates)
        network = self._network(mixtures)
        rows = {name: self._rows(name, candidates, weights) for name in self._tables}
        noise = cast(Generator, network).draw_noise(count, Chance.of(seed)).to(self.device)
        noise = Noise(noise.latent.repeat(mixtures, 1), noise.blocks.repeat(mixtures, 1, 1))
        condition = self._condition(mixtures, count, low_quality, seed).to(self.device)
        images = functional_call(network, {**self._shared, **rows}, (condition, noise))
        # As they are shown: PROG-GAN's may leave the range.
        return cast(Tensor, images).clamp(-1, 1).unflatten(0, (mixtures, count))

    def _network(self, mixtures: int) -> nn.Module:
        if mixtures not in self._networks:
            self._networks[mixtures] = self._built(mixtures)
        return self._networks[mixtures]

    def _built(self, mixtures: int) -> nn.Module:
        labels = mixtures if self.is_matched else self._bundle.shape.num_low_quality_labels
        shape = self._bundle.shape.model_copy(update={"num_classes": mixtures, "num_low_quality_labels": labels})
        with torch.device("meta"):  # all its weights are given with every call
            return build_generator(self._recipe, shape).eval().requires_grad_(False)

    def _rows(self, name: str, candidates: Tensor, weights: Tensor) -> Tensor:
        table = self._tables[name]
        if self._spaces[name] == CLASSES:
            return torch.einsum("nk,nkw->nw", weights, table[candidates].to(self.device))
        assert self._bundle.bank is not None
        labels = torch.from_numpy(self._bundle.bank.label_of_class)[candidates]
        mixed = torch.einsum("nk,nkw->nw", weights, table[labels].to(self.device))
        return torch.cat([mixed, table[-1:].to(self.device)])  # the row of images without a label

    def _condition(self, mixtures: int, count: int, low_quality: Tensor | None, seed: int) -> Condition:
        labels = torch.arange(mixtures).repeat_interleave(count)
        bank = self._bundle.bank
        if bank is None:
            return Condition(labels)
        if low_quality is not None:
            return Condition(labels, low_quality.flatten(0, 1), labels)
        rows = bank.choose(torch.zeros(count, dtype=torch.int64), Chance.of(seed))
        images, own = to_float(bank.images[rows.numpy()]), bank.labels_of(rows)
        return Condition(labels, images.repeat(mixtures, 1, 1, 1), own.repeat(mixtures))


def _differentiable(recipe: Recipe) -> Recipe:
    """With a G_LH that passes the gradient on."""
    if not isinstance(recipe.method, CtfGan):
        return recipe
    return recipe.model_copy(update={"method": recipe.method.model_copy(update={"train_generator_lh": True})})


def _placed(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.ndim == 4:
        return tensor.to(device, memory_format=torch.channels_last)
    return tensor.to(device)
