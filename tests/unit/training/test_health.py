"""What counts as a failed game, on lines of a journal."""

from __future__ import annotations

import pytest
import torch

from ctfgan.distributed.processes import Processes
from ctfgan.training.divergence import Diverged, DivergenceMonitor
from ctfgan.training.loop import StepLosses, log_values

WELL = {"discriminator_adversarial": 1.6, "generator_adversarial": -0.3, "real_logit": 0.4, "real_logit_range": 2.0,
        "fake_logit": -0.4, "fake_logit_range": 1.5}  # fmt: skip
WON = WELL | {"discriminator_adversarial": 0.0, "real_logit": 3.0, "fake_logit": -3.0}


def health(won: float | None = 0.0, window: int = 3) -> DivergenceMonitor:
    return DivergenceMonitor(window, won, Processes(), torch.device("cpu"))


def losses(value: float) -> StepLosses:
    return StepLosses({"adversarial": torch.tensor(1.0)}, {"adversarial": torch.tensor(value)})


def test_a_loss_that_was_not_finite_between_two_lines_is_found_with_its_step() -> None:
    watch = health()
    for step, value in enumerate([1.0, 1.0, float("inf"), 1.0, float("nan")], start=1):
        watch.follow(losses(value), step)
    with pytest.raises(Diverged, match=r"^a loss is not finite since step 3$"):
        watch.judge(5, WELL)
    with pytest.raises(Diverged, match=r"^generator_adversarial is nan since step 3$"):
        watch.judge(5, WELL | {"generator_adversarial": float("nan")})


def test_following_a_step_waits_for_no_device() -> None:
    """A meta tensor has no number to read: whoever asks for one gets an error."""
    meta = torch.device("meta")
    watch = DivergenceMonitor(3, 0.0, Processes(), meta)
    for step in range(1, 4):
        watch.follow(
            StepLosses({"adversarial": torch.ones((), device=meta)}, {"box": torch.ones((), device=meta)}), step
        )
    with pytest.raises(RuntimeError, match="meta"):
        watch.judge(3, WELL)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (WON, r"tells all images apart \(its loss is 0\) and the samples do not improve in 3 lines .* to step 3$"),
        (WELL | {"real_logit_range": 0.0}, "the discriminator says the same of every real image"),
        (WELL | {"fake_logit": 5e4, "fake_logit_range": 4.0}, r"same of every fake image \(a logit of 5e\+04\)"),
        (WELL | {"generator_adversarial": -2e6}, r"generator_adversarial has exploded \(it is -2e\+06\)"),
    ],
)
def test_a_collapse_must_last_for_the_window(line: dict[str, float], message: str) -> None:
    watch = health()
    watch.judge(1, line)
    assert not watch.is_good
    watch.judge(2, line)
    resumed = health()
    resumed.restore(watch.state())
    with pytest.raises(Diverged, match=message):
        resumed.judge(3, line)
    watch.judge(3, WELL)
    assert watch.is_good
    watch.judge(4, line)
    watch.judge(5, line)


def test_a_winning_discriminator_from_which_the_generator_learns_is_no_collapse() -> None:
    watch = health()
    for step in range(1, 20):
        watch.judge(step, WON)
        if step % 2 == 0:
            watch.progress()
            assert watch.is_good


def test_a_wasserstein_critic_cannot_win() -> None:
    watch = health(won=None)
    for step in range(10):
        watch.judge(step, WON | {"discriminator_adversarial": -40.0})
    assert watch.is_good


def test_the_figures_are_means_and_ranges_and_no_range_of_a_few_images() -> None:
    logits = torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([-1.0, -1.0])
    figures = log_values(losses(4.0), logits)
    assert {name: value.item() for name, value in figures.items()} == {
        "discriminator_adversarial": 1.0,
        "generator_adversarial": 4.0,
        "real_logit": 3.0,
        "real_logit_range": 5.0,
        "fake_logit": -1.0,
    }
