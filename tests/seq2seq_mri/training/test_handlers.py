# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Handlers: seeds, averages, progress bars, the history."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from engine_parts import make_sample, translation_evaluator
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler

from seq2seq_mri.training import handlers
from seq2seq_mri.training.handlers import (
    EpochSeed,
    LossProgressBar,
    SubjectAverage,
    SubjectProgressBar,
    TrainingHistory,
    WeightAverage,
)


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), torch.rand(()).item()  # noqa: NPY002


def draws_per_epoch(seed: int, first: int = 1, last: int = 3) -> dict[int, list]:
    """Run epochs ``first`` to ``last``, drawing random numbers in each iteration."""
    drawn: dict[int, list] = {}
    engine = Engine(lambda engine, batch: drawn.setdefault(engine.state.epoch, []).append(draws()))
    EpochSeed(seed).attach(engine)
    engine.state.max_epochs, engine.state.epoch, engine.state.epoch_length = last, first - 1, 2
    engine.state.iteration = (first - 1) * 2
    engine.run([0, 1], max_epochs=last)
    return drawn


def test_epochs_do_not_depend_on_those_before_and_processes_draw_differently(monkeypatch) -> None:
    straight = draws_per_epoch(seed=0)
    torch.manual_seed(5)
    random.seed(5)
    assert draws_per_epoch(seed=0, first=3) == {3: straight[3]}
    assert draws_per_epoch(seed=1)[1] != straight[1]
    numbers = [number for epoch in straight.values() for iteration in epoch for number in iteration]
    assert len(set(numbers)) == 3 * 2 * 3
    monkeypatch.setattr(handlers, "rank", lambda: 1)
    assert draws_per_epoch(seed=0)[1] != straight[1]


def test_dataset_is_told_the_epoch_before_its_first_item_is_asked_for() -> None:
    events: list[int | str] = []

    class Items(list):
        def set_epoch(self, epoch: int) -> None:
            events.append(epoch)

        def __iter__(self):
            events.append("items")
            return super().__iter__()

    items = Items([0])
    engine = Engine(lambda engine, batch: None)
    EpochSeed(0, items).attach(engine)
    engine.run(items, max_epochs=2)
    assert events == [1, "items", 2, "items"]


@pytest.mark.parametrize(("bar", "text"), [(LossProgressBar, "loss=0.5"), (SubjectProgressBar, "subjects")])
def test_progress_bars_are_of_the_first_process(bar, text, capsys, monkeypatch) -> None:
    for process in (0, 1):
        monkeypatch.setattr(handlers, "rank", lambda process=process: process)
        engine = Engine(lambda engine, batch: {"loss": 0.5, "image": torch.zeros(1)})
        bar().attach(engine)
        engine.run(range(3))
        written = capsys.readouterr().err
        assert (text in written) == (process == 0)


def subject_average(outputs: list[dict]) -> float:
    engine = Engine(lambda engine, batch: batch)
    SubjectAverage("psnr_foreground").attach(engine, "val_psnr")
    return engine.run(outputs).metrics["val_psnr"]


def test_subject_average_is_over_subjects_that_have_the_number() -> None:
    assert subject_average([{"psnr_foreground": 20.0}, {}, {"psnr_foreground": 23.0}]) == pytest.approx(21.5)
    with pytest.raises(ValueError, match="No subject has two measured sequences, so there is no psnr_foreground to"):
        subject_average([{}, {}])


def test_subject_average_says_why_no_subject_could_be_measured() -> None:
    bad = make_sample("p1", ["t1", "t2"])
    bad["image"][0, 3, 3, 3] = torch.nan
    evaluator = translation_evaluator([bad], key_val_metric={"val_psnr": SubjectAverage("psnr_foreground")})
    with pytest.raises(ValueError, match=r"No subject could be measured, so there is no psnr_foreground:\n  p1: .*NaN"):
        evaluator.run()


def test_validation_averages_pairs_of_few_slices_and_passes_over_a_subject_without_pairs() -> None:
    """SSIM's window of 11 voxels sees background beyond the four slices of a quick validation."""
    evaluator = translation_evaluator(
        [make_sample("p1", ["t1", "t2"], shape=(12, 13, 4)), make_sample("p2", ["t1"], shape=(12, 13, 4))],
        regions=["foreground"],
        key_val_metric={"val_psnr": SubjectAverage("psnr_foreground")},
        additional_metrics={"val_ssim": SubjectAverage("ssim_foreground")},
    )
    outputs = []
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output))
    evaluator.run()
    assert outputs[1] == {}
    assert len(outputs[0]["rows"]) == 2
    for name in ("psnr", "ssim"):
        mean = np.mean([row[f"{name}_foreground"] for row in outputs[0]["rows"]])
        assert evaluator.state.metrics[f"val_{name}"] == pytest.approx(mean)
    assert evaluator.state.best_metric == evaluator.state.metrics["val_psnr"]


def test_history_has_the_means_the_rate_and_the_skipped_steps_of_each_epoch(tmp_path) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    validation = SimpleNamespace(state=SimpleNamespace(epoch=2, metrics={"val_psnr": 21.0}))
    history = TrainingHistory(tmp_path / "output", optimizer, validation)

    def output(engine: Engine, norm: float) -> dict:
        numbers = {"gradient_norm": torch.tensor(norm), "skipped": float(not np.isfinite(norm))}
        return {"loss": float(engine.state.iteration), "image": None} | numbers

    def halve_the_rate(engine: Engine) -> None:
        optimizer.param_groups[0]["lr"] /= 2

    engine = Engine(output)
    engine.add_event_handler(Events.EPOCH_COMPLETED, halve_the_rate)
    history.attach(engine)
    engine.run([4.0, float("inf"), float("nan"), 2.0], max_epochs=2)
    table = pd.read_csv(tmp_path / "output" / "history.csv")
    expected = pd.DataFrame(
        {
            "epoch": [1.0, 2.0],
            "learning_rate": [0.5, 0.25],
            "loss": [2.5, 6.5],
            "gradient_norm": [3.0, 3.0],  # of the steps that were not skipped
            "skipped": [2.0, 2.0],
            "val_psnr": [None, 21.0],
        }
    )
    pd.testing.assert_frame_equal(table, expected)


def test_progress_bar_looks_at_the_numbers_now_and_then(capsys) -> None:
    engine = Engine(lambda engine, batch: {"loss": torch.tensor(float(batch))})
    engine.skipped = torch.tensor(7)
    LossProgressBar(interval=3).attach(engine)
    engine.run(range(1, 8))
    written = capsys.readouterr().err
    assert "loss=6, skipped=7" in written
    assert "loss=7" not in written


def test_weight_average_equals_ignites() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    averages = [WeightAverage(model, momentum=0.1), EMAHandler(model, momentum=0.1)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    def step(engine: Engine, batch: torch.Tensor) -> None:
        optimizer.zero_grad()
        model(batch).square().sum().backward()
        optimizer.step()

    engine = Engine(step)
    for number, average in enumerate(averages):
        average.attach(engine, name=f"momentum_{number}")
    engine.run(torch.randn(5, 6, 3))
    found, expected = (average.ema_model.state_dict() for average in averages)
    assert not torch.equal(found["0.weight"], model[0].weight)
    torch.testing.assert_close(found, expected)
