# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Nothing that is written in a figure is cut off at its edge or covers another heading."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.contribution.contribution_figure import adjacency_heatmap, ranking_bars
from seq2seq_mri.evaluation.differentiation.differentiation_figure import differentiation_overlay
from seq2seq_mri.evaluation.differentiation.differentiation_strip import differentiation_strip
from seq2seq_mri.evaluation.enhancement.enhancement_figure import enhancement_curves
from seq2seq_mri.evaluation.image_quality.quality_figure import metrics_boxplot, metrics_strip
from seq2seq_mri.evaluation.image_quality.translation_grid import translation_grid
from seq2seq_mri.inference.synthesis_figure import synthesis_panel
from seq2seq_mri.plots.frames import frame_axes

SHAPES = {"head": (10, 13, 4), "breasts": (26, 11, 4)}
SUBJECT = "BraTS-GLI-00110-000"
SEQUENCES = {
    "t1": 1, "fatsat_t1": 1, "t2": 1, "dce": 6, "fatsat_dce": 6, "wash_in": 1, "wash_out": 1, "dwi": 4
}  # fmt: skip
FRAMES = frame_axes(
    SEQUENCES, {name: range(0, 540, 90) for name in ("dce", "fatsat_dce")}, {"dwi": [0, 150, 800, 1500]}
)


def names(count):
    return list(SEQUENCES)[:count]


def subject(count, shape):
    image = np.random.default_rng(0).uniform(0.1, 1, SHAPES[shape]).astype(np.float32)
    fading = {name: np.linspace(1, 0.1, SEQUENCES[name]).reshape(-1, 1, 1, 1) for name in names(count)}
    truth = {name: image * fading[name] if SEQUENCES[name] > 1 else image for name in names(count)}
    return truth, {(source, target): truth[target] for source in truth for target in truth}


def grid(count, shape):
    truth, predictions = subject(count, shape)
    psnr = dict.fromkeys(predictions, 24.31)
    return translation_grid(truth, predictions, subject=SUBJECT, psnr=psnr, frames=FRAMES if count == 8 else None)


def overlay(count, shape):
    truth, _ = subject(count, shape)
    return differentiation_overlay(truth, truth, subject=SUBJECT, regions=truth, frames=FRAMES if count == 8 else None)


def panel(count, shape):
    truth, _ = subject(count, shape)
    disagreement = truth["t1"] / 1000
    return synthesis_panel(truth, "fatsat_dce", truth["t1"], disagreement=disagreement, subject=SUBJECT)


def series(count, shape):
    """A synthesised 4D sequence with all its maps."""
    truth, _ = subject(count, shape)
    made = np.stack([truth["t1"] * 0.9] * 6)
    return synthesis_panel(truth, "fatsat_dce", made, disagreement=made, truth=made, subject=SUBJECT, frames=FRAMES)


def strip(count, shape):
    made = np.stack([subject(1, shape)[0]["t1"]] * (count + 1))
    return differentiation_strip(made, made, "fatsat_dce", subject=SUBJECT, region=made[0])


def curves(count, shape):
    made = {name: np.linspace(0, 1, 6) for name in names(count)}
    return enhancement_curves(np.linspace(0, 2, 6), made, "fatsat_dce", axis=FRAMES["dce"], subject=SUBJECT)


def heatmap(count):
    return adjacency_heatmap(pd.DataFrame(np.full((count, count), -1.25), names(count), names(count)))


def ranking(count):
    ranks = np.arange(1, count + 1)
    values = np.linspace(1, -1, count)
    table = {"sequence": names(count), "c_t": values, "rank_t": ranks, "c_d": -values, "rank_d": ranks[::-1]}
    return ranking_bars(pd.DataFrame(table))


def metrics(count):
    pairs = itertools.permutations(names(count) if count > 1 else names(2), 2)
    values = {"psnr_foreground": 25.123, "ssim_foreground": 0.9123, "lpips": 0.0123, "data_range": 1.0}
    rows = [
        {"subject": f"s{number}", "source": source, "target": target}
        | {name: value * (1 + number / 10) if name != "data_range" else value for name, value in values.items()}
        for source, target in pairs
        for number in range(2)
    ]
    return pd.DataFrame(rows)


def boxplot(count):
    return metrics_boxplot(metrics(count))


def points(count):
    return metrics_strip(metrics(count))


IMAGES = [
    pytest.param(partial(draw, shape=shape), id=f"{draw.__name__}-{shape}")
    for draw in (grid, overlay, panel, series, strip, curves)
    for shape in SHAPES
]


@pytest.mark.parametrize("count", [1, 4, 8])
@pytest.mark.parametrize("draw", [*IMAGES, heatmap, ranking, boxplot, points])
def test_nothing_reaches_the_edge(draw, count):
    figure = draw(count)
    figure.canvas.draw()
    drawn = np.asarray(figure.canvas.buffer_rgba())
    for side in (drawn[:2], drawn[-2:], drawn[:, :2], drawn[:, -2:]):
        assert (side == 255).all()  # what is cut off would leave its ink at the edge


@pytest.mark.parametrize("count", [4, 8])
@pytest.mark.parametrize("draw", IMAGES)
def test_headings_do_not_touch(draw, count):
    figure = draw(count)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    headings = [axes.title for axes in figure.axes if axes.get_title()] + figure.texts
    headings += [axes.yaxis.label for axes in figure.axes if axes.get_ylabel() and axes.axison]
    boxes = [text.get_window_extent(renderer) for text in headings]
    for first, second in itertools.combinations(boxes, 2):
        assert not first.overlaps(second)
