# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Nothing that is written in a figure is cut off at its edge or covers another heading."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.visualize import (
    adjacency_heatmap,
    differentiation_overlay,
    metrics_boxplot,
    metrics_strip,
    ranking_bars,
    synthesis_panel,
    training_curves,
    translation_grid,
)

SHAPE = (10, 13, 4)
SUBJECT = "BraTS-GLI-00110-000"


def names(count):
    return ["t1", "fatsat_t1", "t2", "dce", "fatsat_dce", "wash_in", "wash_out", "dwi"][:count]


def subject(count):
    image = np.random.default_rng(0).uniform(0.1, 1, SHAPE).astype(np.float32)
    truth = {name: np.stack([image] * 6) if "dce" in name else image for name in names(count)}
    return truth, {(source, target): truth[target] for source in truth for target in truth}


def grid(count):
    truth, predictions = subject(count)
    return translation_grid(truth, predictions, subject=SUBJECT, psnr=dict.fromkeys(predictions, 24.31))


def overlay(count):
    truth, _ = subject(count)
    return differentiation_overlay(truth, truth, subject=SUBJECT, regions=truth)


def panel(count):
    truth, _ = subject(count)
    disagreement = truth["t1"] / 1000
    return synthesis_panel(truth, "fatsat_dce", truth["t1"], disagreement=disagreement, subject=SUBJECT)


def heatmap(count):
    return adjacency_heatmap(pd.DataFrame(np.full((count, count), -1.25), names(count), names(count)))


def ranking(count):
    ranks = np.arange(1, count + 1)
    values = np.linspace(1, -1, count)
    table = {"sequence": names(count), "c_t": values, "rank_t": ranks, "c_d": -values, "rank_d": ranks[::-1]}
    return ranking_bars(pd.DataFrame(table))


def metrics(count):
    pairs = itertools.permutations(names(count) if count > 1 else names(2), 2)
    values = {"psnr": 25.123, "ssim": 0.9123, "lpips": 0.0123, "data_range": 1.0}
    rows = [
        {"subject": f"s{number}", "source": source, "target": target}
        | {name: value * (1 + number / 10) if name != "data_range" else value for name, value in values.items()}
        for source, target in pairs
        for number in range(2)
    ]
    return pd.DataFrame(rows)


def boxplot(count):
    return metrics_boxplot(metrics(count))


def strip(count):
    return metrics_strip(metrics(count))


def curves(count):
    return training_curves(
        {"epoch": [1, 2, 300]} | {name: [1e-5, 2e-5, 3e-5] for name in ("loss", "val_psnr", "rate", *names(count)[1:])}
    )


@pytest.mark.parametrize("count", [1, 4, 8])
@pytest.mark.parametrize("draw", [grid, overlay, panel, heatmap, ranking, boxplot, strip, curves])
def test_nothing_reaches_the_edge(draw, count):
    figure = draw(count)
    figure.canvas.draw()
    drawn = np.asarray(figure.canvas.buffer_rgba())
    for side in (drawn[:2], drawn[-2:], drawn[:, :2], drawn[:, -2:]):
        assert (side == 255).all()  # what is cut off would leave its ink at the edge


@pytest.mark.parametrize("count", [4, 8])
@pytest.mark.parametrize("draw", [grid, overlay, panel])
def test_headings_do_not_touch(draw, count):
    figure = draw(count)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    headings = [axes.title for axes in figure.axes if axes.get_title()] + figure.texts
    boxes = [text.get_window_extent(renderer) for text in headings]
    for first, second in itertools.combinations(boxes, 2):
        assert not first.overlaps(second)
