# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Series at other times, or with other b-values, than the sequence table has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.interpolate import interp1d

from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.nifti import Volume

TABLE = {"t1": 1, "dce": 4, "dwi": 3}
TIMES = {"dce": [0, 90, 180, 270]}
B_VALUES = {"dwi": [0, 150, 800]}


def series_of(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 9, (frames, 5, 4, 3)).astype(np.float32)


@pytest.fixture
def write_series(tmp_path) -> Callable[..., str]:
    """Write ``[T, X, Y, Z]`` as 4D NIfTI with times in a sidecar and b-values, and return its path."""

    def write(name: str, series: np.ndarray, times: Sequence | None = None, b_values: Sequence | None = None) -> str:
        path = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.moveaxis(series, 0, -1), np.eye(4)), path)
        if times is not None:
            (tmp_path / f"{name}.json").write_text(f'{{"FrameTimesStart": {list(times)}}}')
        if b_values is not None:
            (tmp_path / f"{name}.bval").write_text(" ".join(map(str, b_values)))
        return str(path)

    return write


def load(resample_time: bool = False, **paths) -> np.ndarray:
    loader = LoadImageSequencesd(TABLE, times=TIMES, b_values=B_VALUES, resample_time=resample_time)
    return loader({"subject": "p1", **paths})["image"].numpy()


@pytest.mark.parametrize("times", [None, [0, 90, 180, 270], [0, 60, 200, 314.9], [5, 95, 185, 275]])
@pytest.mark.parametrize("resample_time", [False, True])
def test_the_tables_frames_are_taken_as_they_are(write_series, times, resample_time) -> None:
    series = series_of(4)
    image = load(resample_time, dce=write_series("dce", series, times))
    np.testing.assert_array_equal(image[1:5], series)


@pytest.mark.parametrize(
    "times",
    [np.arange(0, 400, 16.43).tolist(), [0, 270], [0, 45, 100, 280.5]],
    ids=["many frames", "two frames", "as many frames"],
)
def test_interpolation_in_time(write_series, times) -> None:
    series = series_of(len(times), seed=1)
    image = load(True, dce=write_series("dce", series, times))
    np.testing.assert_allclose(image[1:5], interp1d(times, series, axis=0)(TIMES["dce"]), rtol=1e-5)


@pytest.mark.parametrize("last", [250.0, 270.0])
def test_the_last_frame_is_held_for_half_of_its_length(write_series, last) -> None:
    times = [0, 50, 100, last - 40, last]
    series = series_of(5)
    image = load(True, dce=write_series("dce", series, times))
    np.testing.assert_array_equal(image[4], series[4])


def test_series_that_ends_too_early(write_series) -> None:
    path = write_series("dce", series_of(4), [0, 80, 160, 209])
    with pytest.raises(ValueError, match=r"'p1'.* at 0, 80, 160, 209 s.*ends too early to be interpolated to 270 s"):
        load(True, dce=path)


@pytest.mark.parametrize("times", [[0, 45, 180, 320], [0, 90, 180], np.arange(0, 400, 16.43).tolist()])
def test_other_times_are_refused_unless_asked_for(write_series, times) -> None:
    path = write_series("dce", series_of(len(times)), times)
    with pytest.raises(ValueError, match="resample_time: true") as caught:
        load(dce=path)
    found, wanted = f"has {len(times)} frames at 0, ", "'dce' has 4 timepoints at 0, 90, 180, 270 s"
    for part in ("'p1'", path, found, wanted, "dce.json"):
        assert part in str(caught.value)


@pytest.mark.parametrize("frames", [1, 3, 5])
@pytest.mark.parametrize("resample_time", [False, True])
def test_another_number_of_frames_without_times(write_series, frames, resample_time) -> None:
    path = write_series("dce", series_of(frames))
    with pytest.raises(ValueError, match=f"has {frames} frames and does not say their times") as caught:
        load(resample_time, dce=path)
    for part in ("'p1'", path, "FrameTimesStart", ".json"):
        assert part in str(caught.value)


class TestParts:
    """Series in several files or folders."""

    def files(self, write_series, series: np.ndarray) -> list[str]:
        return [write_series(f"frame{index}", frame[None]) for index, frame in enumerate(series)]

    def test_order_of_the_list(self, write_series) -> None:
        series = series_of(4)
        files = self.files(write_series, series)
        np.testing.assert_array_equal(load(dce=files)[1:5], series)
        np.testing.assert_array_equal(load(dce=files[::-1])[1:5], series[::-1])

    def test_missing_frame(self, write_series) -> None:
        files = self.files(write_series, series_of(4))[:3]
        with pytest.raises(ValueError, match=r"'p1'.*frame2.* has 3 frames and .*complete the series, or merge"):
            load(dce=files)

    def test_frames_on_different_grids(self, write_series, write_volume) -> None:
        files = self.files(write_series, series_of(4))
        moved = np.eye(4)
        moved[1, 3] = 3
        files[2] = write_volume("moved.nii.gz", series_of(1)[0], moved)
        with pytest.raises(ValueError, match=r"'p1'.*moved\.nii\.gz lie on different grids"):
            load(dce=files)

    @pytest.fixture
    def folders(self, tmp_path, monkeypatch) -> Callable[..., list[str]]:
        """Make folders for DICOM series of which the reader gives the volumes."""
        read_dicom = pytest.importorskip("seq2seq_mri.io.dicom.read_dicom")

        def make(**volumes: dict) -> list[str]:
            paths = []
            for name in volumes:
                (tmp_path / name).mkdir()
                paths.append(str(tmp_path / name))

            def read(folder: Path, subject: str) -> Volume:
                assert subject == "p1"
                return Volume(affine=np.eye(4), path=Path(folder), **volumes[Path(folder).name])

            monkeypatch.setattr(read_dicom, "read_dicom_series", read)
            return paths

        return make

    def test_folders_are_interpolated_on_one_axis_of_time(self, folders) -> None:
        series = series_of(5)
        paths = folders(
            b={"voxels": series[1:], "times": (0.0, 70.0, 140.0, 210.0), "start": 160.0},
            a={"voxels": series[:1], "start": 100.0},
        )
        expected = interp1d([0, 60, 130, 200, 270], series, axis=0)(TIMES["dce"])
        np.testing.assert_allclose(load(True, dce=paths)[1:5], expected, rtol=1e-5)

    def test_folders_that_do_not_all_say_when(self, folders) -> None:
        series = series_of(4)
        parts = {f"f{index}": {"voxels": series[index][None], "start": float(-index)} for index in range(4)}
        parts["f2"]["start"] = None
        np.testing.assert_array_equal(load(dce=folders(**parts))[1:5], series)

    def test_two_frames_at_one_time(self, folders) -> None:
        paths = folders(a={"voxels": series_of(1), "start": 5.0}, b={"voxels": series_of(1), "start": 5.0})
        with pytest.raises(ValueError, match=r"'p1'.*frames at the same time"):
            load(dce=paths)

    def test_b_values_of_folders(self, folders) -> None:
        series = series_of(3)
        paths = folders(
            c={"voxels": series[2:], "b_values": (800.0,)}, ab={"voxels": series[:2], "b_values": (0.0, 150.0)}
        )
        np.testing.assert_array_equal(load(dwi=paths)[5:], series)


class TestBValues:
    def test_frames_are_picked_and_averaged(self, write_series) -> None:
        b_values = [0, 400, 796, 5, 150, 812, 800, 10]
        series = series_of(8)
        image = load(dwi=write_series("dwi", series, b_values=b_values))
        expected = [series[[0, 3, 7]].mean(0), series[4], series[[2, 5, 6]].mean(0)]
        np.testing.assert_allclose(image[5:], expected, rtol=1e-6)
        assert not image[:5].any()

    @pytest.mark.parametrize(
        ("b_values", "missing"),
        [
            *(((10, 150, 800), None), ((11, 150, 800), 0), ((0, 140, 800), None), ((0, 139, 800), 150)),
            *(((0, 150, 760), None), ((0, 150, 759), 800), ((0, 150, 840), None), ((0, 150, 841), 800)),
        ],
    )
    def test_tolerance(self, write_series, b_values, missing) -> None:
        series = series_of(3)
        # In another order than the table's.
        path = write_series("dwi", series[[2, 0, 1]], b_values=[b_values[2], *b_values[:2]])
        if missing is None:
            np.testing.assert_array_equal(load(dwi=path)[5:], series)
        else:
            with pytest.raises(ValueError, match=f"no frame with b = {missing} s/mm²"):
                load(dwi=path)

    @pytest.mark.parametrize(
        ("b_values", "message"),
        [
            ([0, 150, 400, 1000], "has no frame with b = 800 s/mm².*it has 0, 150, 400, 1000"),
            (None, r"has no b-values.*0, 150, 800.*dwi\.bval"),
        ],
    )
    def test_missing_b_values(self, write_series, b_values, message) -> None:
        path = write_series("dwi", series_of(4), b_values=b_values)
        with pytest.raises(ValueError, match=f"'p1': {path} {message}"):
            load(dwi=path)

    def test_close_b_values_do_not_share_frames(self, write_series) -> None:
        series = series_of(3)
        load_close = LoadImageSequencesd({"dwi": 2}, b_values={"dwi": [0, 12]})
        image = load_close({"dwi": write_series("dwi", series, b_values=[12, 6, 0])})["image"]
        np.testing.assert_allclose(image, [series[1:].mean(0), series[0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"times": {"pd": [0]}}, "Unknown sequence 'pd'"),
        ({"times": {"dce": [0, 90]}}, "give 4, one for each timepoint, in seconds"),
        ({"times": {"dce": "0123"}}, "give 4, one for each timepoint"),
        ({"times": {"dce": [0, 90, 90, 270]}}, "increasing"),
        ({"times": {"dce": [10, 90, 180, 270]}}, "0 first"),
        ({"times": {"dce": [0, 90, 180, float("nan")]}}, "finite numbers"),
        ({"b_values": {"dwi": [0, 150]}}, "give 3, one for each timepoint, in s/mm²"),
        ({"b_values": {"dwi": [0, -150, 800]}}, "numbers from 0"),
        ({"b_values": {"dwi": [0, 150, 150]}}, "all different"),
        ({"times": {"dce": [0, 90, 180, 270]}, "b_values": {"dce": [0, 1, 2, 3]}}, "'dce' has both times and b_values"),
    ],
)
def test_tables_that_are_wrong(tables, message) -> None:
    with pytest.raises(ValueError, match=message):
        LoadImageSequencesd(TABLE, **tables)


@pytest.mark.real_data
def test_real_dce_at_six_times(shared_data) -> None:
    path = shared_data / "data" / "breast_dce" / "dce.nii.gz"
    times = [0, 75, 150, 225, 300, 375]
    image = LoadImageSequencesd({"dce": 6}, times={"dce": times}, resample_time=True)({"dce": str(path)})["image"]
    measured = np.moveaxis(nibabel.load(path).get_fdata(), -1, 0)
    np.testing.assert_allclose(image, interp1d(np.arange(25) * 16.43, measured, axis=0)(times), rtol=1e-3, atol=1e-3)
