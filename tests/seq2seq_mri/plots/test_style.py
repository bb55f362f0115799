# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import matplotlib
import pandas as pd
import pytest
from matplotlib import pyplot
from PIL import Image

from seq2seq_mri.evaluation.contribution.contribution_figure import adjacency_heatmap
from seq2seq_mri.plots.style import new_figure, save_figure


@pytest.fixture
def adjacency():
    return pd.DataFrame([[0.0, 1.5], [-0.5, 0.0]], ["t1", "t2"], ["t1", "t2"])


def test_png_is_cut_to_what_is_drawn(tmp_path):
    figure = new_figure(3.0, 2.0)
    figure.add_axes((0.25, 0.25, 0.5, 0.5)).set_axis_off()
    path = save_figure(figure, tmp_path / "new" / "figure.png")
    with Image.open(path) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (332, 232))  # the axes and 0.08 inches around them


@pytest.mark.parametrize("suffix", [".PNG", ".pdf", ".svg"])
def test_equal_figures_give_equal_bytes(tmp_path, adjacency, suffix):
    first = save_figure(adjacency_heatmap(adjacency), tmp_path / f"first{suffix}").read_bytes()
    assert len(first) > 1000
    assert save_figure(adjacency_heatmap(adjacency), tmp_path / f"second{suffix}").read_bytes() == first


def test_the_user_s_settings_neither_matter_nor_change(tmp_path, adjacency):
    plain = save_figure(adjacency_heatmap(adjacency), tmp_path / "plain.png").read_bytes()
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 50, "axes.grid": True, "savefig.bbox": "tight"}):
        mine = save_figure(adjacency_heatmap(adjacency), tmp_path / "mine.png").read_bytes()
        assert matplotlib.rcParams["font.size"] == 20
    assert mine == plain
    assert pyplot.get_fignums() == []


def test_existing_file_is_kept_unless_told(tmp_path):
    path = tmp_path / "figure.png"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"figure\.png exists"):
        save_figure(new_figure(1.0, 1.0), path)
    assert path.read_text() == "mine"
    save_figure(new_figure(1.0, 1.0), path, overwrite=True)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_unknown_format(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be written as '\.jpg'.*\.png, \.pdf, \.svg"):
        save_figure(new_figure(1.0, 1.0), tmp_path / "figure.jpg")
    assert not list(tmp_path.iterdir())
