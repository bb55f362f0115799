# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Values, times and b-values of NIfTI files; what else can be wrong is tested with the subjects that are loaded."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.nifti import read_volume, sidecar_path
from seq2seq_mri.io.save import SaveImageSequencesd, save_volume

SERIES = np.random.default_rng(0).uniform(1, 9, (3, 5, 4, 3)).astype(np.float32)
UNEVEN = (0.0, 30.0, 100.5)


def write_series(path: Path, zoom: float = 90.0, unit: str = "sec", frames: int = 3, affine=None) -> Path:
    image = nibabel.Nifti1Image(np.moveaxis(SERIES[:frames], 0, -1), np.eye(4) if affine is None else affine)
    image.header["pixdim"][4] = zoom
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_values_are_scaled_as_the_header_says(tmp_path, ending, kind) -> None:
    voxels = np.random.default_rng(0).integers(-5, 900, (5, 6, 7, 2)).astype(np.int16)
    image = kind(voxels, np.diag([1.0, 2.0, 3.0, 1.0]))
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / f"image{ending}")
    volume = read_volume(tmp_path / f"image{ending}", "p1")
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, 0.5 * np.moveaxis(voxels, -1, 0) + 3)
    np.testing.assert_array_equal(volume.affine, np.diag([1.0, 2.0, 3.0, 1.0]))


@pytest.mark.parametrize(
    ("zoom", "unit", "step"),
    [
        (90.0, "sec", 90.0),
        (1500.0, "msec", 1.5),
        (2e6, "usec", 2.0),
        (90.0, "unknown", None),
        (90.0, "hz", None),
        (0.0, "sec", None),
    ],
)
def test_times_of_the_header(tmp_path, zoom, unit, step) -> None:
    (tmp_path / "dce.json").write_text('{"EchoTime": 0.002}')  # says nothing of times
    volume = read_volume(write_series(tmp_path / "dce.nii.gz", zoom, unit), "p1")
    assert volume.times == (None if step is None else pytest.approx([0, step, 2 * step]))
    assert (volume.b_values, volume.start) == (None, None)


def test_real_series_says_its_times(shared_data) -> None:
    folder = shared_data / "data" / "breast_dce"
    times = json.loads((folder / "acquisition.json").read_text())["times_s"]
    assert read_volume(folder / "dce.nii.gz", "b").times == pytest.approx(times)


def test_3d_files_and_vectors_have_no_times(tmp_path) -> None:
    path = write_series(tmp_path / "t1.nii", frames=1)
    (tmp_path / "t1.json").write_text("no JSON")
    (tmp_path / "t1.bval").write_text("0 1 2")
    volume = read_volume(path, "p1")
    assert (volume.times, volume.b_values) == (None, None)
    series = nibabel.load(write_series(tmp_path / "dce.nii"))
    nibabel.save(nibabel.Nifti1Image(series.get_fdata()[..., None, :], None, series.header), tmp_path / "vector.nii")
    assert read_volume(tmp_path / "vector.nii", "p1").times is None


@pytest.mark.parametrize("name", ["dce.nii.gz", "p.1_dce.nii"])
def test_sidecars_win_over_the_header(tmp_path, name) -> None:
    path = write_series(tmp_path / name)
    stem = name.split(".nii")[0]
    (tmp_path / f"{stem}.json").write_text('{"EchoTime": 0.002, "FrameTimesStart": [12, 20.5, 112]}')
    (tmp_path / f"{stem}.bval").write_text("0\t150 \n8e2\n")
    volume = read_volume(path, "p1")
    assert volume.times == (0.0, 8.5, 100.0)
    assert volume.b_values == (0.0, 150.0, 800.0)


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        ("json", "{", "not readable JSON"),
        ("json", "[0, 1, 2]", "not a JSON object"),
        ("json", '{"FrameTimesStart": [0, 90]}', "2 values for 3 frames"),
        ("json", '{"FrameTimesStart": 0}', "1 values for 3 frames"),
        ("json", '{"FrameTimesStart": [0, "90", 180]}', "not numbers"),
        ("json", '{"FrameTimesStart": [0, NaN, 180]}', "NaN or infinite"),
        ("json", '{"FrameTimesStart": [0, 180, 90]}', "not increasing"),
        ("bval", "0 150 high", "cannot be read as numbers"),
        ("bval", "0 150 800 1500", "4 values for 3 frames"),
        ("bval", "0 -150 800", "negative"),
    ],
)
def test_bad_sidecars(tmp_path, ending, content, message) -> None:
    path = write_series(tmp_path / "dce.nii.gz")
    (tmp_path / f"dce.{ending}").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_volume(path, "p1")
    for part in ("'p1'", str(path), str(tmp_path / f"dce.{ending}")):
        assert part in str(caught.value)


def test_time_between_frames_that_is_no_number(tmp_path) -> None:
    path = write_series(tmp_path / "dce.nii", np.nan)
    with pytest.raises(ValueError, match=r"'p1'.*dce\.nii has nan as time between its frames"):
        read_volume(path, "p1")


@pytest.mark.parametrize("times", [None, (0.0, 90.0, 180.0), (0.0, 0.1, 0.2), UNEVEN, (10.0, 20.0, 30.0)])
@pytest.mark.parametrize("b_values", [None, (0.0, 150.0, 1500.5)])
@pytest.mark.parametrize("like_file", [False, True])
def test_what_is_saved_is_read(tmp_path, oblique_affine, times, b_values, like_file) -> None:
    # The 7 seconds between the frames of the source say nothing of the volume that is saved.
    like = write_series(tmp_path / "source.nii", 7, affine=oblique_affine) if like_file else oblique_affine
    path = tmp_path / "out" / "saved.nii.gz"
    assert save_volume(path, SERIES, like, times=times, b_values=b_values)
    volume = read_volume(path, "p1")
    np.testing.assert_array_equal(volume.voxels, SERIES)
    np.testing.assert_allclose(volume.affine, oblique_affine, atol=1e-5)
    assert volume.times == (None if times is None else pytest.approx(np.array(times) - times[0]))
    assert volume.b_values == b_values
    even = times is not None and times[2] == 2 * times[1]
    assert nibabel.load(path).header.get_xyzt_units() == ("mm", "sec" if even else "unknown")
    written = {"saved.bval"} if b_values else set()
    written |= {"saved.json"} if times and not even else set()
    assert {file.name for file in path.parent.iterdir()} == {"saved.nii.gz"} | written


def test_a_3d_volume_has_no_sidecars(tmp_path) -> None:
    for volume in (SERIES[:1], SERIES[0]):
        save_volume(tmp_path / "a.nii", volume, np.eye(4), "overwrite", times=[0], b_values=[0])
        assert nibabel.load(tmp_path / "a.nii").shape == (5, 4, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


@pytest.mark.parametrize(
    ("values", "message"),
    [({"times": [0, 90, 90]}, "times is not increasing"), ({"b_values": [0, 150]}, "b_values has 2 values for 3")],
)
def test_saving_refuses(tmp_path, values, message) -> None:
    with pytest.raises(ValueError, match=f"saved.nii.*{message}"):
        save_volume(tmp_path / "saved.nii", SERIES, np.eye(4), **values)
    assert not list(tmp_path.iterdir())


def test_overwrite_leaves_nothing_of_the_old(tmp_path) -> None:
    path = tmp_path / "a.nii"
    save_volume(path, SERIES, np.eye(4), times=UNEVEN, b_values=[0, 1, 2])
    save_volume(path, SERIES, np.eye(4), "overwrite", times=[0, 20, 40])
    volume = read_volume(path, "p1")
    assert (volume.times, volume.b_values) == ((0.0, 20.0, 40.0), None)
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii"]


@pytest.mark.parametrize("ending", [".json", ".bval"])
def test_sidecar_of_something_else(tmp_path, ending) -> None:
    path = tmp_path / "a.nii"
    sidecar_path(path, ending).write_text("0 7 9" if ending == ".bval" else '{"FrameTimesStart": [0, 7, 9]}')
    with pytest.raises(FileExistsError, match=rf"a\{ending} exists and would be taken for a part of .*a\.nii"):
        save_volume(path, SERIES, np.eye(4))
    assert not path.exists()
    # "skip" completes what an interrupted run has begun.
    assert save_volume(path, SERIES, np.eye(4), "skip", times=UNEVEN)
    assert not save_volume(path, SERIES, np.eye(4), "skip", times=[0, 1, 2])
    assert read_volume(path, "p1").times == UNEVEN


def test_sidecar_that_cannot_be_written_leaves_no_image(tmp_path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OSError, match=r"a\.json"):
        save_volume(tmp_path / "a.nii", SERIES, np.eye(4), "overwrite", times=UNEVEN)
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_each_sequence_is_saved_with_its_own_times_and_b_values(write_volume, tmp_path) -> None:
    table = {"t1": 1, "dce": 3, "dwi": 3}
    sample = LoadImageSequencesd(table)({"subject": "p1", "t1": write_volume("t1.nii.gz", SERIES[0])})
    sample["pred"] = np.concatenate([SERIES[:1], SERIES, SERIES])
    given = {"times": {"dce": (0, 90, 180)}, "b_values": {"dwi": (0, 800, 1500)}}
    SaveImageSequencesd("pred", table, tmp_path / "out", **given)(sample)
    for name in table:
        volume = read_volume(tmp_path / "out" / "p1" / f"p1_{name}.nii.gz", "p1")
        assert (volume.times, volume.b_values) == (given["times"].get(name), given["b_values"].get(name))
