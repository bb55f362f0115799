# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import numpy as np
import pytest

from seq2seq_mri.visualize import synthesis_panel
from seq2seq_mri.visualize.slices import axial_view


def shown(figure):
    return [axes for axes in figure.axes if axes.images]


def test_all_panels(subject, texts):
    truth, predictions = subject
    target = truth.pop("t1gd")
    synthesised = predictions["t1", "t1gd"]
    figure = synthesis_panel(
        truth, "t1gd", synthesised, disagreement=synthesised / 5, truth=target, slice_index=3, crop=False, maximum=0.4
    )
    panels = shown(figure)
    assert [axes.get_title() for axes in panels] == [
        "t1",
        "t2",
        "flair",
        "synthesised",
        "disagreement of sources",
        "measured (withheld)",
        "absolute error",
    ]
    error = axial_view(np.abs(synthesised - target), 3)
    np.testing.assert_allclose(panels[-1].images[0].get_array(), error, rtol=1e-6)
    assert panels[-1].images[0].get_clim() == panels[4].images[0].get_clim() == (0, 0.4)
    assert panels[3].images[0].get_clim() == (0, 1)
    written = texts(figure)
    assert "t1gd" in written
    assert "Axial slice 4 of 6" in written
    assert sum("fraction of range" in text for text in written) == 2


@pytest.mark.parametrize("count", [1, 3, 7])
def test_sources_wrap(count, subject):
    image = subject[0]["t1"]
    figure = synthesis_panel({f"sequence{number}": image for number in range(count)}, "t1gd", image)
    assert len(shown(figure)) == count + 1
    boxes = [axes.get_position() for axes in shown(figure)]
    assert len({(round(box.x0, 6), round(box.y0, 6)) for box in boxes}) == count + 1  # none on another
    assert all(box.x0 >= 0 and box.x1 <= 1 and box.y0 >= 0 and box.y1 <= 1 for box in boxes)


def test_four_dimensional_target(subject, texts):
    image = subject[0]["t1"]
    figure = synthesis_panel({"t1": image}, "dce", np.stack([image] * 6), disagreement=np.stack([image] * 6))
    assert "dce\ntimepoint 4/6" in texts(figure)


def test_wrong_arguments(subject):
    image = subject[0]["t1"]
    with pytest.raises(ValueError, match="No source is given for the synthesised t1gd"):
        synthesis_panel({}, "t1gd", image)
    with pytest.raises(ValueError, match="synthesised image has shape"):
        synthesis_panel({"t1": image}, "t1gd", image[1:])
    with pytest.raises(ValueError, match="disagreement map has shape"):
        synthesis_panel({"t1": image}, "t1gd", image, disagreement=image[1:])
    with pytest.raises(ValueError, match="withheld image has shape"):
        synthesis_panel({"t1": image}, "t1gd", image, truth=image[1:])
    with pytest.raises(ValueError, match="positive number"):
        synthesis_panel({"t1": image}, "t1gd", image, maximum=-1.0)
