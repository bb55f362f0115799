# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Trainings of a number of steps: repeatable, and resumed as if they had not been stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seq2seq_studies.comparison.methods import METHODS
from seq2seq_studies.comparison.training import MethodTraining


class Killed(Exception):
    """What stops a training in these tests."""


@pytest.fixture
def train(tiny_recipe, random_batches, tmp_path):
    """Trains a method for six steps, to be killed after some of them, and returns its weights."""

    def run(method: str, seed: int = 0, kill_after: int | None = None, folder: Path = tmp_path) -> dict:
        def progress(step: int) -> None:
            if step == kill_after:
                raise Killed

        recipe = tiny_recipe(method, seed)
        training = MethodTraining(recipe, random_batches, 6, seed, 1e-3, folder / f"{method}.pt", interval=2)
        training.run(progress)
        modules = {"network": recipe.network, "discriminator": recipe.discriminator}
        return {
            f"{part}.{name}": tensor
            for part, module in modules.items()
            if module is not None
            for name, tensor in module.state_dict().items()
        }

    return run


def equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_training_ends_as_one_that_was_not(method, train, tiny_recipe, tmp_path) -> None:
    before, uninterrupted = tiny_recipe(method).network.state_dict(), train(method, folder=tmp_path / "whole")
    assert any(not torch.equal(before[name], uninterrupted[f"network.{name}"]) for name in before)
    assert not equal(uninterrupted, train(method, seed=1, folder=tmp_path / "other"))
    with pytest.raises(Killed):
        train(method, kill_after=3)
    assert (tmp_path / f"{method}.pt").is_file()
    torch.manual_seed(99)  # what was drawn before does not matter
    assert equal(train(method), uninterrupted)


def test_the_rate_falls_along_a_cosine(tiny_recipe, random_batches, tmp_path) -> None:
    training = MethodTraining(tiny_recipe("seq2seq_a"), random_batches, 4, 0, 0.1, tmp_path / "last.pt")
    rates = []
    training.run(lambda step: rates.append(training.optimizers["network"].param_groups[0]["lr"]))
    assert rates[1:] == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], abs=1e-6)


def test_a_checkpoint_of_another_training_is_refused(train, tiny_recipe, random_batches, tmp_path) -> None:
    with pytest.raises(Killed):
        train("mm_gan", kill_after=2)
    last = tmp_path / "mm_gan.pt"
    with pytest.raises(ValueError, match="was trained with steps 6, not 8"):
        MethodTraining(tiny_recipe("mm_gan"), random_batches, 8, 0, 1e-3, last).run()
    with pytest.raises(ValueError, match=r"another (network )?configuration"):
        MethodTraining(tiny_recipe("resvit"), random_batches, 6, 0, 1e-3, last).run()
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(ValueError, match="truncated"):
        MethodTraining(tiny_recipe("mm_gan"), random_batches, 6, 0, 1e-3, last).run()


def test_a_loss_that_is_not_finite_names_the_step(tiny_recipe, random_batches, tmp_path) -> None:
    def broken(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, measured = random_batches(step)
        return image / (0.0 if step == 1 else 1.0), measured

    with pytest.raises(ValueError, match=r"The network's loss is (nan|inf) in step 2; give a lower learning_rate"):
        MethodTraining(tiny_recipe("seq2seq_b"), broken, 3, 0, 1e-3, tmp_path / "last.pt").run()
