# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Wash-in and wash-out maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.transforms.intensity import NormalizeSequencesd
from seq2seq_mri.transforms.wash_maps import AddWashMapsd, wash_maps

TABLE = {"t1": 1, "dce": 4, "fatsat_dce": 3, "wash_in": 1, "wash_out": 1}
NAMES = list(TABLE)


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


SERIES = np.random.default_rng(1).uniform(50, 200, (4, 5, 4, 3)).astype(np.float32)


@pytest.fixture
def subject(write_volume) -> dict:
    paths = {name: write_volume(f"{name}.nii.gz", SERIES[frame]) for frame, name in enumerate(["t1", "wash_in"])}
    paths["dce"] = write_volume("dce.nii.gz", np.moveaxis(SERIES, 0, -1))
    paths["fatsat_dce"] = write_volume("fatsat_dce.nii.gz", np.moveaxis(SERIES[:3] + 7, 0, -1))
    return paths


def add(subject: dict, names: tuple[str, ...], withheld: tuple[str, ...] = (), load_withheld=False, **options) -> dict:
    given: dict = {"subject": "p1"} | {name: subject[name] for name in names}
    given["withheld"] = {name: subject[name] for name in withheld}
    options = {"source": ["dce", "fatsat_dce"]} | options
    return Compose([LoadImageSequencesd(TABLE, load_withheld=load_withheld), AddWashMapsd(TABLE, **options)])(given)


def state(sample: dict, name: str) -> tuple[bool, bool]:
    """Return whether a sequence is available and measured."""
    return bool(sample["available"][NAMES.index(name)]), bool(sample["measured"][NAMES.index(name)])


@pytest.mark.parametrize(
    ("names", "expected"), [(("t1", "dce", "fatsat_dce"), SERIES), (("t1", "fatsat_dce"), SERIES[:3] + 7)]
)
def test_maps_of_the_first_source(subject, names, expected) -> None:
    sample = add(subject, names)
    image = sample["image"]
    for channel, wash_map in zip((8, 9), wash_maps(expected), strict=True):
        np.testing.assert_array_equal(image[channel].numpy(), wash_map)
    assert state(sample, "wash_in") == state(sample, "wash_out") == (True, True)
    plain = LoadImageSequencesd(TABLE)({name: subject[name] for name in names})["image"]
    assert image.dtype == torch.float32
    assert torch.equal(image[:8].as_tensor(), plain[:8].as_tensor())
    assert torch.equal(image.affine, plain.affine)
    assert image.meta.keys() == plain.meta.keys()
    assert image.applied_operations == plain.applied_operations  # by which a prediction finds its way back


def test_given_maps_and_the_given_sample_are_left_alone(subject) -> None:
    given = LoadImageSequencesd(TABLE)({"dce": subject["dce"], "wash_in": subject["wash_in"]})
    before = {key: given[key].clone() for key in ("image", "available", "measured")}
    sample = AddWashMapsd(TABLE, "dce")(given)
    np.testing.assert_array_equal(sample["image"][8].numpy(), SERIES[1])
    np.testing.assert_array_equal(sample["image"][9].numpy(), wash_maps(SERIES)[1])
    assert all(torch.equal(given[key], before[key]) for key in before)


@pytest.mark.parametrize("load_withheld", [False, True])
def test_what_is_withheld(subject, load_withheld) -> None:
    """A map is left alone; a series never gives a map that is available, and an available series comes before it."""
    sample = add(subject, ("dce",), withheld=("wash_in",), load_withheld=load_withheld)
    assert (state(sample, "wash_in"), state(sample, "wash_out")) == ((False, load_withheld), (True, True))
    np.testing.assert_array_equal(sample["image"][8].numpy(), SERIES[1] if load_withheld else 0 * SERIES[1])
    sample = add(subject, ("t1",), withheld=("dce",), load_withheld=load_withheld)
    assert state(sample, "wash_in") == state(sample, "wash_out") == (False, load_withheld)
    assert bool(sample["image"][8:].any()) == load_withheld
    sample = add(subject, ("fatsat_dce",), withheld=("dce",), load_withheld=load_withheld)
    assert state(sample, "wash_in") == (True, True)
    np.testing.assert_array_equal(sample["image"][8].numpy(), wash_maps(SERIES[:3] + 7)[0])


def test_one_map_only(subject) -> None:
    sample = add(subject, ("dce",), source="dce", wash_out="not in the table", early=2)
    np.testing.assert_array_equal(sample["image"][8].numpy(), wash_maps(SERIES, 2)[0])
    assert state(sample, "wash_out") == (False, False)


def test_a_map_that_is_nowhere_above_zero_stays_missing(write_volume) -> None:
    rising = np.stack([SERIES[0] * factor for factor in (1, 2, 3, 4)], -1)
    sample = add({"dce": write_volume("dce.nii.gz", rising)}, ("dce",))
    assert (state(sample, "wash_in"), state(sample, "wash_out")) == ((True, True), (False, False))
    assert NormalizeSequencesd(TABLE, clip_factor=1)(sample)["image"][8].min() == 1
    assert not sample["image"][9].any()


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


@pytest.mark.real_data
def test_the_rim_of_a_real_tumour_enhances(shared_data) -> None:
    path = shared_data / "data" / "breast_dce" / "dce.nii.gz"
    load = LoadImageSequencesd({"dce": 6}, times={"dce": [0, 75, 150, 225, 300, 375]}, resample_time=True)
    wash_in, wash_out = wash_maps(load({"dce": str(path)})["image"].numpy())
    assert np.isfinite(wash_in).all()
    assert np.isfinite(wash_out).all()
    # Some tissue takes up the agent at once, most does not.
    assert np.percentile(wash_in, 99.5) > 0.5
    assert abs(np.median(wash_in)) < 0.2
