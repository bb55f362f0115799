# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Nothing that is written in a figure of images is cut off at its edge or covers another heading."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from seq2seq_mri.evaluation.differentiation.differentiation_figure import differentiation_overlay, differentiation_strip
from seq2seq_mri.evaluation.image_quality.translation_grid import translation_grid
from seq2seq_mri.inference.synthesis_figure import synthesis_panel
from seq2seq_mri.plots.frames import frame_axes
from seq2seq_mri.plots.slices import SliceView

SEQUENCES = {
    "t1": 1, "fatsat_t1": 1, "t2": 1, "dce": 6, "fatsat_dce": 6, "wash_in": 1, "wash_out": 1, "dwi": 4
}  # fmt: skip
FRAMES = frame_axes(
    SEQUENCES, {name: range(0, 540, 90) for name in ("dce", "fatsat_dce")}, {"dwi": [0, 150, 800, 1500]}
)
OPTIONS = {"view": SliceView("BraTS-GLI-00110-000"), "frames": FRAMES}


def grid(truth):
    pairs = list(itertools.product(truth, truth))
    made = {(source, target): truth[target] for source, target in pairs}
    return translation_grid(truth, made, psnr=dict.fromkeys(pairs, 24.31), **OPTIONS)


def overlay(truth):
    regions = {name: image for name, image in truth.items() if image.ndim == 3}
    return differentiation_overlay(truth, truth, regions=regions, **OPTIONS)


def panel(truth):
    return synthesis_panel(truth, "fatsat_dce", truth["t1"], deviation=truth["t1"] / 1000, **OPTIONS)


def series(truth):
    """A synthesised 4D sequence with all its maps."""
    made = np.stack([truth["t1"] * 0.9] * 6)
    return synthesis_panel(truth, "fatsat_dce", made, deviation=made, truth=made, **OPTIONS)


def strip(truth):
    made = np.stack([truth["t1"]] * (len(truth) + 1))
    return differentiation_strip(made, made, "fatsat_dce", view=OPTIONS["view"], region=made[0])


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (26, 11, 4)), (4, (10, 13, 4)), (8, (26, 11, 4))]
)  # slices as high as a head's, or as wide as both breasts'
@pytest.mark.parametrize("draw", [grid, overlay, panel, series, strip])
def test_headings_are_whole_and_do_not_touch(draw, shape, count):
    image = np.random.default_rng(0).uniform(0.1, 1, shape).astype(np.float32)
    fading = {name: np.linspace(1, 0.1, timepoints).reshape(-1, 1, 1, 1) for name, timepoints in SEQUENCES.items()}
    names = list(SEQUENCES)[:count]
    figure = draw({name: image * fading[name] if SEQUENCES[name] > 1 else image for name in names})
    figure.canvas.draw()
    drawn = np.asarray(figure.canvas.buffer_rgba())
    for side in (drawn[:2], drawn[-2:], drawn[:, :2], drawn[:, -2:]):
        assert (side == 255).all()  # what is cut off would leave its ink at the edge
    renderer = figure.canvas.get_renderer()
    headings = [axes.title for axes in figure.axes if axes.get_title()] + figure.texts
    headings += [axes.yaxis.label for axes in figure.axes if axes.get_ylabel() and axes.axison]
    boxes = [text.get_window_extent(renderer) for text in headings]
    for first, second in itertools.combinations(boxes, 2):
        assert not first.overlaps(second)
