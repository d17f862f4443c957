from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import step
import torch
from roofline import ADAM_PASSES, Peaks, backward_work, forward_work, update_work
from step import PlainBaseline, literal_difference_maps
from timed_stages import TimedStage, synthetic_spec, timed_stages
from timing import Times, run_script
from torch import nn

from ctfgan.core.errors import ConfigError
from ctfgan.models.ctf_gan import difference_maps
from ctfgan.nn.resampling import conv_pool, unpool_conv
from ctfgan.recipes.catalogue import named_recipe
from tests.conftest import Outcome

CPU = torch.device("cpu")
TINY = ["--width", "0.05", "--batch", "4", "--steps", "1"]


def test_operations_and_bytes_of_a_small_network_are_those_counted_by_hand() -> None:
    # 4 images of 3x8x8; conv to 5 channels, ReLU, linear to 7.
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 64, 7))
    images = torch.randn(4, 3, 8, 8)
    forward = forward_work(lambda: network(images), network, [images])
    conv, linear = 2 * 64 * 5 * 3 * 9, 2 * 5 * 64 * 7
    assert forward.per(4).operations == conv + linear
    parameters = 5 * 27 + 5 + 7 * 320 + 7
    touched = parameters + 4 * 3 * 64 + 4 * 7
    assert forward.bytes == 4 * touched

    both = backward_work(lambda: network(images), network, [images])
    # The images need no gradient: the convolution has only that of its weights.
    assert both.per(4).operations == 2 * conv + 3 * linear
    kept = 4 * 5 * 64  # the ReLU's output, which the linear layer keeps too
    assert both.bytes == 4 * (touched + parameters + 2 * kept)


def test_an_update_counts_what_the_optimiser_moves_and_no_frozen_gradient() -> None:
    trained, other = nn.Linear(6, 5, bias=False), nn.Linear(5, 2, bias=False).requires_grad_(False)
    given = torch.randn(3, 6)
    work = update_work(lambda: other(trained(given)).sum().backward(), trained, other, [given])
    assert work.operations == 2 * 3 * (2 * 6 * 5 + 2 * 5 * 2)
    assert work.bytes == 4 * (30 + 10 + 18 + (1 + ADAM_PASSES) * 30)


def test_the_convolutions_beside_a_change_of_size_take_a_quarter_of_the_products() -> None:
    network, maps = nn.Conv2d(6, 4, 3), torch.randn(1, 6, 8, 8)
    for function, large in ((unpool_conv, 16), (conv_pool, 8)):
        work = forward_work(lambda f=function: f(maps, network.weight, network.bias), network, [maps])  # type: ignore[misc]
        assert work.operations == 2 * 9 * 6 * 4 * large**2 / 4


def test_the_floor_is_the_slower_of_arithmetic_and_memory() -> None:
    peaks = Peaks(operations=100.0, bytes=10.0)
    assert peaks.floor(200, 10) == 2
    assert peaks.floor(200, 50) == 5


def test_a_ratio_is_taken_within_rounds() -> None:
    assert Times({"a": [1, 10, 3], "b": [2, 20, 1]}).ratio("b", "a") == 2


def test_the_literal_spectrum_gives_the_production_maps() -> None:
    rng = torch.Generator().manual_seed(0)
    current, previous = torch.randn(2, 3, 8, 8, generator=rng), torch.randn(2, 5, 4, 4, generator=rng)
    torch.testing.assert_close(
        literal_difference_maps(current, previous), difference_maps(current, previous), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", ["table1-cifar10-projection", "projection-folders"])
def test_the_plain_trainer_has_the_parameters_of_the_recipe_and_learns_with_them(name: str) -> None:
    recipe = named_recipe(name)
    (stage,) = timed_stages(recipe, 7, 2, CPU).values()
    plain = PlainBaseline(recipe, synthetic_spec(recipe, 7), stage.settings)
    for ours, theirs in (
        (stage.generator, plain.trainer.generator),
        (stage.discriminator, plain.trainer.discriminator),
    ):
        assert sorted(p.numel() for p in ours.parameters()) == sorted(p.numel() for p in theirs.parameters())
    before = [p.clone() for p in plain.trainer.generator.blocks.parameters()]
    plain.trainer.update_generator(2)
    assert all(not torch.equal(a, b) for a, b in zip(before, plain.trainer.generator.blocks.parameters(), strict=True))


def test_the_plain_discriminator_judges_as_ours_does_with_the_same_weights() -> None:
    recipe = named_recipe("projection-folders")
    (stage,) = timed_stages(recipe, 5, 4, CPU).values()
    trainer = PlainBaseline(recipe, synthetic_spec(recipe, 5), stage.settings).trainer
    ours, theirs = stage.discriminator, trainer.discriminator
    weights = {name.replace("head.", ""): tensor for name, tensor in ours.state_dict().items()}
    theirs.load_state_dict(weights)
    for network in (ours, theirs):
        network.eval()
    torch.testing.assert_close(
        theirs(stage.batch.real, stage.batch.real_labels),
        ours(stage.batch.real, stage.batch.real_labels),
        atol=1e-4,
        rtol=1e-4,
    )


def test_a_stage_takes_its_turn_with_what_it_trains() -> None:
    stages = timed_stages(named_recipe("ctf-mnist16"), 3, 4, CPU)
    transfer, generate = stages["transfer"], stages["generate"]
    for stage, moves in ((generate, False), (transfer, True), (generate, False)):
        before = transfer.generator.to_image.weight.clone()  # type: ignore[union-attr, operator]
        times = stage.step()
        assert torch.equal(before, transfer.generator.to_image.weight) is not moves  # type: ignore[union-attr, arg-type]
        assert 0 < times.optimisers < times.whole
    assert isinstance(generate, TimedStage)


def test_the_plain_trainer_stands_for_one_method_only() -> None:
    recipe = named_recipe("projection-mnist16")
    (stage,) = timed_stages(recipe, 3, 4, CPU).values()
    with pytest.raises(ConfigError, match="16x16; the plain reference is sn-gan-projection at 32x32"):
        PlainBaseline(recipe, synthetic_spec(recipe, 3), stage.settings)


@pytest.fixture
def run_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``run_step("ctf-folders", "--steps", 1)``: the script in this process, on a machine that was measured before."""
    monkeypatch.setattr(step, "measure_peaks", lambda device: Peaks(operations=1e12, bytes=1e12))
    monkeypatch.setattr(step, "PIPELINE_BATCHES", 2)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["step.py", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            run_script(step.main)
        except SystemExit as end:
            code = end.code
        assert isinstance(code, int)
        return Outcome(code, *capsys.readouterr())

    return run


def test_the_command_reports_every_network_and_stage(run_step: Callable, tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    done = run_step("ctf-mnist16", *TINY, "--json", str(out))
    assert done.code == 0, done
    for words in ("peaks:", "transfer: GeneratorLH", "generate: TransferGenerator", "generate: generator update",
                  "achieved", "images/s", "spatial form"):  # fmt: skip
        assert words in done.out
    figures = json.loads(out.read_text())
    assert [stage["stage"] for stage in figures["stages"]] == ["transfer", "generate"]
    assert all(0 < stage["generator"]["achieved"] < 1 for stage in figures["stages"])


def test_the_command_compares_side_by_side(run_step: Callable) -> None:
    plain = run_step("projection-folders", *TINY, "--against", "reference")
    assert plain.code == 0, plain
    assert "times as many steps/s as the plain reference" in plain.out
    both = run_step("projection-mnist16", "--compare", "ctf-mnist16:generate", *TINY)
    assert both.code == 0, both
    assert "ctf-mnist16:generate" in both.out
    alone = run_step("projection-mnist16", "--compare", "projection-mnist16", *TINY)
    assert alone.code == 2
    assert "name two different stages" in alone.err
