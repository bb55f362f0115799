# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Derived MR series: what is read back is what was written, where it was, of the study that it was made from."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom_writer import write_classic, write_enhanced
from pydicom.uid import generate_uid

from seq2seq_mri.io.dicom.derived_series import write_derived_mr_series
from seq2seq_mri.io.dicom.read_dicom import read_dicom_series
from seq2seq_mri.io.grids import match_grid
from seq2seq_mri.io.nifti import Volume

DESCRIPTION = "synthetic T1Gd, research only"
#: Values are written this many times as large.
SCALE = 1000


def synthetic(shape=(7, 5, 4), lowest=0.0, seed=1):
    return np.random.default_rng(seed).uniform(lowest, 1.3, shape).astype(np.float32)


@pytest.fixture
def sources(tmp_path, affine):
    """Two series of one study, one parallel to the volume."""
    study = generate_uid()

    def change(dataset, frame, place):
        dataset.StudyInstanceUID = study
        dataset.PatientName, dataset.PatientID, dataset.PatientSex = "Doe^Jane", "p1", "F"
        dataset.StudyDate, dataset.AccessionNumber, dataset.PatientPosition = "20240228", "A7", "HFS"
        dataset.FrameOfReferenceUID, dataset.EchoTime, dataset.ContrastBolusAgent = "1.2.3.4", "90", "gadolinium"

    voxels = np.random.default_rng(0).integers(0, 1000, (1, 7, 5, 4))
    t1 = write_classic(tmp_path / "t1", voxels, affine, change=change, seed=None)
    return t1 + write_classic(tmp_path / "t2", voxels, affine[:, [1, 2, 0, 3]], change=change, seed=None)


class TestRoundTrip:
    @pytest.mark.parametrize("lowest", [0.0, -2.0, 0.5])
    def test_volume_and_affine(self, tmp_path, affine, sources, lowest):
        volume = synthetic(lowest=lowest)
        paths = write_derived_mr_series(volume, affine, sources, tmp_path / "t1gd", DESCRIPTION)
        assert paths == sorted((tmp_path / "t1gd").iterdir())
        read = read_dicom_series(tmp_path / "t1gd", "p1")
        np.testing.assert_allclose(read.affine, affine, atol=1e-8)
        step = (volume.max() - min(0, volume.min())) / 65535
        np.testing.assert_allclose(read.voxels[0] / SCALE, volume, rtol=0, atol=0.51 * step)

    def test_zero_stays_zero_and_the_brightest_voxel_is_not_clipped(self, tmp_path, affine, sources):
        for number, volume in enumerate((synthetic() * np.float32(7.7e-7), np.zeros((7, 5, 1)))):
            volume[0] = 0
            write_derived_mr_series(volume, affine, sources, tmp_path / f"{number}", DESCRIPTION)
            read = read_dicom_series(tmp_path / f"{number}", "p1", allow_constant=True)
            np.testing.assert_allclose(read.affine, affine, atol=1e-8)
            assert (read.voxels[0, 0] == 0).all()
            assert read.voxels.max() == pytest.approx(SCALE * volume.max(), rel=1e-6)

    @pytest.mark.parametrize("signs", [(1, 1, -1), (-1, 1, 1)])
    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
    def test_any_orientation_is_the_same_place_in_space(self, tmp_path, affine, sources, signs, order):
        turned = affine[:, [*order, 3]] @ np.diag([*signs, 1])
        volume = synthetic((4, 5, 6))
        write_derived_mr_series(volume, turned, sources, tmp_path / "t1gd", DESCRIPTION)
        read = read_dicom_series(tmp_path / "t1gd", "p1")
        found = match_grid(read, Volume(volume[None], turned, tmp_path), "p1", tolerance=1e-3)
        np.testing.assert_allclose(found[0] / SCALE, volume, atol=2e-5)

    @pytest.mark.parametrize("given", [{"times": (0, 90.25, 200)}, {"b_values": (0, 150, 800)}])
    def test_timepoints(self, tmp_path, affine, sources, given):
        volume = synthetic((3, 7, 5, 4))
        write_derived_mr_series(volume, affine, sources, tmp_path / "series", "synthetic series", **given)
        read = read_dicom_series(tmp_path / "series", "p1")
        np.testing.assert_allclose(read.voxels / SCALE, volume, atol=2e-5)
        assert {"times": read.times, "b_values": read.b_values} == {"times": None, "b_values": None, **given}


class TestHeader:
    @pytest.fixture
    def headers(self, tmp_path, affine, sources):
        paths = write_derived_mr_series(synthetic(), affine, sources, tmp_path / "t1gd", DESCRIPTION)
        return [pydicom.dcmread(path) for path in paths]

    def test_study_and_marks(self, headers, sources):
        source = pydicom.dcmread(sources[0])
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "AccessionNumber"):
            assert {str(header[keyword].value) for header in headers} == {str(source[keyword].value)}
        for header in headers:
            assert list(header.ImageType) == ["DERIVED", "SECONDARY", "OTHER"]
            assert header.SeriesDescription == DESCRIPTION
            assert (header.BurnedInAnnotation, header.ContentQualification) == ("NO", "RESEARCH")
            assert "not measured by a scanner" in header.DerivationDescription
            assert header.DerivationDescription.endswith("Values are 1000 times those of the network.")
            assert header.SeriesNumber == source.SeriesNumber + 1000
            assert "ContrastBolusAgent" not in header
            assert header.EchoTime is None
            assert header.SeriesInstanceUID != source.SeriesInstanceUID
            np.testing.assert_allclose([header.SliceThickness, header.SpacingBetweenSlices], 3.0)
        np.testing.assert_allclose(np.diff([float(header.SliceLocation) for header in headers]), 3.0)
        assert len({header.SOPInstanceUID for header in headers}) == len(headers)

    def test_window_is_at_least_one_wide_or_absent(self, tmp_path, affine, sources):
        dim = write_derived_mr_series(synthetic() / 2 / SCALE, affine, sources, tmp_path / "dim", DESCRIPTION)
        assert "WindowWidth" not in pydicom.dcmread(dim[0])
        bright = write_derived_mr_series(synthetic() / 2, affine, sources, tmp_path / "bright", DESCRIPTION)
        header = pydicom.dcmread(bright[0])
        assert float(header.WindowCenter) == pytest.approx(float(header.WindowWidth) / 2)
        assert 550 < float(header.WindowWidth) < 650

    def test_sources(self, headers, sources):
        """Of the parallel series the image in the same plane, of the other all."""
        instances = [str(pydicom.dcmread(path).SOPInstanceUID) for path in sources]
        for place, header in enumerate(headers):
            named = [item.ReferencedSOPInstanceUID for item in header.SourceImageSequence]
            assert named == [instances[place], *instances[4:]]
            assert [len(series.ReferencedInstanceSequence) for series in header.ReferencedSeriesSequence] == [1, 4]
            assert header.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"

    def test_files_follow_from_the_content(self, tmp_path, affine, sources):
        def written(name, volume, description=DESCRIPTION, references=sources):
            paths = write_derived_mr_series(volume, affine, references, tmp_path / name, description)
            return [path.read_bytes() for path in paths], pydicom.dcmread(paths[0]).SeriesInstanceUID

        first = written("a", synthetic())
        assert written("b", synthetic()) == first
        other = {
            written("c", synthetic(seed=2))[1],
            written("d", synthetic(), "synthetic T2, research only")[1],
            written("e", synthetic(), references=sources[:4])[1],
        }
        assert len(other | {first[1]}) == 4

    def test_enhanced_sources(self, tmp_path, affine):
        path = tmp_path / "source.dcm"
        write_enhanced(path, np.random.default_rng(0).integers(0, 1000, (1, 7, 5, 4)), affine)
        paths = write_derived_mr_series(synthetic(), affine, [path], tmp_path / "t1gd", DESCRIPTION)
        header = pydicom.dcmread(paths[2])
        (named,) = header.SourceImageSequence
        assert named.ReferencedSOPInstanceUID == pydicom.dcmread(path).SOPInstanceUID
        assert header.FrameOfReferenceUID


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"volume": np.full((7, 5, 4), np.nan)}, "NaN"),
            ({"volume": np.zeros((7, 5))}, "shape"),
            ({"affine": np.diag([1, 1, 0, 1])}, "invertible"),
            ({"affine": np.eye(4) + np.eye(4)[[1, 0, 2, 3]] * [[0.3], [0], [0], [0]]}, "not perpendicular"),
            ({"description": "T1Gd"}, "must say 'synthetic'"),
            ({"description": "synthetic " + "x" * 60}, "at most 64"),
            ({"times": [0.0, 1.0]}, "2 times for 1"),
        ],
    )
    def test_wrong_arguments(self, tmp_path, affine, sources, change, message):
        arguments = {"volume": synthetic(), "affine": affine, "description": DESCRIPTION} | change
        with pytest.raises(ValueError, match=message):
            write_derived_mr_series(references=sources, folder=tmp_path / "new" / "t1gd", **arguments)
        assert not (tmp_path / "new").exists()

    def test_sources_that_cannot_be(self, tmp_path, affine, sources):
        other = write_classic(tmp_path / "other", np.ones((1, 7, 5, 4)), affine)
        text = tmp_path / "text.dcm"
        text.write_text("text")
        for references, error, message in (
            ([], FileNotFoundError, "there are none"),
            ([tmp_path / "absent.dcm"], FileNotFoundError, "absent.dcm does not exist"),
            ([text], ValueError, "text.dcm is no DICOM file"),
            ([*sources, other[0]], ValueError, "different studies"),
        ):
            with pytest.raises(error, match=message):
                write_derived_mr_series(synthetic(), affine, references, tmp_path / "t1gd", DESCRIPTION)
        assert not (tmp_path / "t1gd").exists()

    def test_a_folder_with_files_is_kept(self, tmp_path, affine, sources):
        with pytest.raises(FileExistsError, match="is not empty"):
            write_derived_mr_series(synthetic(), affine, sources, tmp_path / "t1", DESCRIPTION)
        assert len(list((tmp_path / "t1").iterdir())) == 4

    def test_an_interrupted_write_leaves_nothing(self, tmp_path, affine, sources, monkeypatch):
        saved = pydicom.dataset.FileDataset.save_as

        def full(self, path, *args, **kwargs):
            if self.InstanceNumber == 3:
                raise OSError(28, "No space left on device")
            saved(self, path, *args, **kwargs)

        monkeypatch.setattr(pydicom.dataset.FileDataset, "save_as", full)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(OSError, match=r"cannot write the series .*t1gd: No space left"):
            write_derived_mr_series(synthetic(), affine, sources, tmp_path / "t1gd", DESCRIPTION)
        assert sorted(tmp_path.iterdir()) == before
