from __future__ import annotations

import pytest
import torch

from ctfgan.distributed.random_streams import BatchRng
from ctfgan.training.regularization import DiscriminatorRegularization, Lecam, squared_gradients
from ctfgan.training.settings import LecamSettings, PenaltySettings, StrengtheningSettings


def strengthening(**settings: object) -> DiscriminatorRegularization:
    return DiscriminatorRegularization(StrengtheningSettings.model_validate(settings), BatchRng.of(0))


def test_the_squared_gradient_is_that_of_the_formula() -> None:
    """Of the logit sum(w * x ** 2) the gradient is 2 * w * x."""
    weights = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    images = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits = (weights * images.square()).flatten(1).sum(dim=1)
    by_hand = (2 * weights * images).square().flatten(1).sum(dim=1)
    torch.testing.assert_close(squared_gradients(logits, images), by_hand)


def test_lazy_penalties_come_every_few_steps_and_weigh_as_many() -> None:
    helper = strengthening(penalty=PenaltySettings(r1=0.2, r2=0.4, every=3))
    found = []
    for _ in range(6):
        images = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
        helper.begin_step()
        helper.watch(images)
        logits = 3 * images.flatten(1).sum(dim=1)  # gradient 3 at each of 4 pixels: squared norm 36
        found.append(helper.terms(images, *logits.chunk(2)))
    assert [sorted(terms) for terms in found] == [[], [], ["r1", "r2"], [], [], ["r1", "r2"]]
    assert found[2]["r1"].item() == pytest.approx(3 * 0.2 / 2 * 36)
    assert found[2]["r2"].item() == pytest.approx(3 * 0.4 / 2 * 36)


def test_lecam_pulls_each_side_to_where_the_other_has_been() -> None:
    lecam = Lecam(LecamSettings(weight=0.5, from_step=2, decay=0.5), torch.Tensor.detach)
    real, fake = torch.tensor([2.0, 4.0]), torch.tensor([-1.0, 1.0])
    anchor_real = anchor_fake = 0.0
    terms = []
    for step in range(4):
        shifted = real + step, fake - step
        means = shifted[0].mean().item(), shifted[1].mean().item()
        anchor_real = means[0] if step == 0 else 0.5 * anchor_real + 0.5 * means[0]
        anchor_fake = means[1] if step == 0 else 0.5 * anchor_fake + 0.5 * means[1]
        term = lecam.term(*shifted, step + 1)
        above = sum(max(0.0, r - anchor_fake) ** 2 for r in shifted[0].tolist()) / 2
        below = sum(max(0.0, anchor_real - f) ** 2 for f in shifted[1].tolist()) / 2
        terms.append(None if term is None else term.item())
        assert term is None or term.item() == pytest.approx(0.5 * (above + below))
    assert terms[:2] == [None, None]
    assert None not in terms[2:]


def test_a_restored_helper_goes_on_as_the_one_that_was_saved() -> None:
    settings = {"penalty": PenaltySettings(r1=1.0, every=2), "lecam": LecamSettings(weight=1.0, from_step=0)}
    one, other = strengthening(**settings), strengthening(**settings)

    def step(helper: DiscriminatorRegularization, seed: int) -> dict[str, float]:
        images = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
        helper.begin_step()
        helper.watch(images)
        terms = helper.terms(images, *images.square().flatten(1).sum(dim=1).chunk(2))
        return {name: term.item() for name, term in terms.items()}

    step(one, 1)
    other.restore(one.state(), torch.device("cpu"))
    assert [step(one, seed) for seed in (2, 3, 4)] == [step(other, seed) for seed in (2, 3, 4)]


def test_by_default_nothing_is_added_and_no_gradient_at_the_images_is_asked_for() -> None:
    helper = strengthening()
    images = torch.zeros(2, 1, 2, 2)
    helper.begin_step()
    helper.watch(images)
    assert not images.requires_grad
    assert helper.terms(images, torch.zeros(1), torch.zeros(1)) == {}
    assert torch.equal(helper.augment(images), images)
