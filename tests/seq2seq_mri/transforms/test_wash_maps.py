# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Wash-in and wash-out maps."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from seq2seq_mri.sequences import channel_slices
from seq2seq_mri.transforms.intensity import NormalizeSequencesd
from seq2seq_mri.transforms.wash_maps import AddWashMapsd, wash_maps

TABLE = {"t1": 1, "dce": 4, "fatsat_dce": 3, "wash_in": 1, "wash_out": 1}


def curves(*signals: tuple[float, ...]) -> np.ndarray:
    """Return a series ``[T, X, Y, 1]`` with the given time curves, and tissue of constant signal 100 beside them."""
    voxels = np.full((len(signals[0]), len(signals) + 1, 9, 1), 100.0, dtype=np.float32)
    for index, signal in enumerate(signals):
        voxels[:, index, 0, 0] = signal
    return voxels


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy, MetaTensor, lambda series: series.astype(np.int16)])
def test_curves_of_every_type(convert) -> None:
    """Hand-made curves: wash-out, plateau and persistent enhancement, and none."""
    given = convert(curves((100, 260, 230, 208), (100, 180, 181, 181), (100, 130, 160, 169), (50, 50, 50, 50)))
    wash_in, wash_out = wash_maps(given)
    for wash_map, expected in ((wash_in, [1.6, 0.8, 0.3, 0, 0]), (wash_out, [0.2, -1 / 180, 0, 0, 0])):
        assert type(wash_map) is type(given)
        assert wash_map.shape == given.shape[1:]
        assert wash_map.dtype == (torch.float32 if isinstance(given, torch.Tensor) else np.float32)
        np.testing.assert_allclose(np.asarray(wash_map)[:, 0, 0], expected, atol=1e-6)


def test_against_the_equations() -> None:
    series = np.random.default_rng(0).uniform(50, 200, (6, 7, 5, 3))
    for early in (1, 2, 4):
        wash_in, wash_out = wash_maps(series, early, least_enhancement=-1.0)
        np.testing.assert_allclose(wash_in, series[early] / series[0] - 1, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(wash_out, 1 - series[-1] / series[early], rtol=1e-4, atol=1e-5)
        _, enhancing = wash_maps(series, early, least_enhancement=0.25)
        np.testing.assert_array_equal(enhancing, np.where(series[early] / series[0] >= 1.25, wash_out, 0))


def test_no_signal_gives_zero_and_no_warning(recwarn) -> None:
    # The 99th percentile of all positive values is 100, so 5 is the floor.
    series = curves((0, 50, 50, 50), (5, 50, 20, 10), (6, 12, 12, 12), (100, 0, 50, 50), (100, 5, 1, 1), (-3, -1, 0, 1))
    wash_in, wash_out = wash_maps(series, least_enhancement=-1.0)
    np.testing.assert_allclose(wash_in[:6, 0, 0], [0, 0, 1, -1, -0.95, 0], atol=1e-6)
    np.testing.assert_allclose(wash_out[:6, 0, 0], [0, 0.8, 0, 0, 0, 0], atol=1e-6)
    for nothing in (np.zeros((3, 2, 2, 2)), np.full((3, 2, 2, 2), -1.0)):
        assert not any(wash_map.any() for wash_map in wash_maps(nothing))
    assert not recwarn.list


SERIES = torch.rand(4, 5, 4, 3, generator=torch.Generator().manual_seed(1)) * 150 + 50
GIVEN = {"t1": SERIES[:1], "dce": SERIES, "fatsat_dce": SERIES[:3] + 7, "wash_in": SERIES[1:2]}


def sample(available: str, withheld: str = "", load_withheld: bool = False, **changes) -> dict:
    """A subject as the loader gives it: what is withheld may have been loaded, as the truth of an evaluation."""
    names = {"available": available, "withheld": withheld, "measured": available + load_withheld * f" {withheld}"}
    flags = {key: torch.tensor([name in value.split() for name in TABLE]) for key, value in names.items()}
    image = MetaTensor(torch.zeros(10, *SERIES.shape[1:]), affine=torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0])))
    for name, voxels in (GIVEN | changes).items():
        if name in names["measured"].split():
            image[channel_slices(TABLE)[name]] = voxels
    return {"subject": "p1", "image": image} | flags


def state(data: dict, name: str) -> tuple[bool, bool]:
    """Return whether a sequence is available and measured."""
    return bool(data["available"][list(TABLE).index(name)]), bool(data["measured"][list(TABLE).index(name)])


@pytest.mark.parametrize(
    ("given", "source", "wash_in", "wash_out"),
    [
        (sample("t1 dce fatsat_dce"), "dce", (True, True), (True, True)),
        (sample("t1 fatsat_dce"), "fatsat_dce", (True, True), (True, True)),
        # An available series comes before one that is withheld, whose maps are never available.
        (sample("fatsat_dce", "dce", True), "fatsat_dce", (True, True), (True, True)),
        (sample("t1", "dce", True), "dce", (False, True), (False, True)),
        (sample("t1", "dce", False), None, (False, False), (False, False)),
    ],
)
def test_maps_of_the_first_source(given, source, wash_in, wash_out) -> None:
    before = copy.deepcopy(given)
    found = AddWashMapsd(TABLE, ["dce", "fatsat_dce"])(given)
    for channel, wash_map in enumerate(wash_maps(GIVEN[source]) if source else (torch.zeros(5, 4, 3),) * 2):
        assert torch.equal(found["image"][8 + channel].as_tensor(), wash_map)
    assert (state(found, "wash_in"), state(found, "wash_out")) == (wash_in, wash_out)
    assert torch.equal(found["image"].affine, given["image"].affine)
    assert torch.equal(found["image"][:8], given["image"][:8])
    assert all(torch.equal(given[key], before[key]) for key in ("image", "available", "measured"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (sample("dce wash_in"), (True, True)),
        (sample("dce", "wash_in", True), (False, True)),
        (sample("dce", "wash_in", False), (False, False)),
    ],
)
def test_a_map_that_is_given_or_withheld_is_left_alone(given, expected) -> None:
    found = AddWashMapsd(TABLE, "dce")(given)
    assert torch.equal(found["image"][8], given["image"][8])
    assert torch.equal(found["image"][9].as_tensor(), wash_maps(SERIES)[1])
    assert (state(found, "wash_in"), state(found, "wash_out")) == (expected, (True, True))


def test_one_map_only() -> None:
    found = AddWashMapsd(TABLE, "dce", wash_out="not in the table", early=2)(sample("dce"))
    assert torch.equal(found["image"][8].as_tensor(), wash_maps(SERIES, 2)[0])
    assert state(found, "wash_out") == (False, False)


def test_a_map_that_is_nowhere_above_zero_stays_missing() -> None:
    rising = SERIES[:1] * torch.arange(1, 5).reshape(4, 1, 1, 1)
    found = AddWashMapsd(TABLE, "dce")(sample("dce", dce=rising))
    assert (state(found, "wash_in"), state(found, "wash_out")) == ((True, True), (False, False))
    assert NormalizeSequencesd(TABLE, clip_factor=1)(found)["image"][8].min() == 1
    assert not found["image"][9].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "pd"}, "Unknown sequence 'pd'"),
        ({"source": "t1"}, "'t1' has 1 timepoints; wash maps need at least 3"),
        ({"source": "dce", "wash_out": "fatsat_dce"}, "'fatsat_dce' has 3 timepoints; a wash map has 1"),
        ({"source": ["dce", "fatsat_dce"], "early": 2}, "early is 2; with 3 timepoints"),
    ],
)
def test_refuses_options(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        AddWashMapsd(TABLE, **options)
