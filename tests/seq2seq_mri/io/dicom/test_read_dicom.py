# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Folders of DICOM files as 4D volumes: what was written is read back, and every way in which it can go wrong."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pydicom
import pytest
from dicom_writer import BEGINNING, write_classic, write_enhanced
from monai.transforms import LoadImage
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGLSLossless, generate_uid

from seq2seq_mri.io.dicom.read_dicom import read_dicom_grid, read_dicom_series
from seq2seq_mri.io.grids import match_grid
from seq2seq_mri.io.nifti import Volume

TIMES = (0.0, 61.25, 150.5, 171.75, 300.000125, 449.5)
B_VALUES = (0.0, 150.0, 800.0, 1500.0)


def voxels(frames=1, shape=(7, 5, 4), seed=0):
    return np.random.default_rng(seed).integers(-300, 30000, (frames, *shape)).astype(np.float32)


def set_to(**values):
    """Return what sets values in a header, and deletes those that are ``None``."""

    def change(dataset, *_):
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
            if value is None:
                delattr(dataset, keyword)

    return change


def assert_same(volume, expected, affine):
    assert volume.voxels.dtype == np.float32
    assert volume.affine.dtype == np.float64
    np.testing.assert_allclose(volume.affine, affine, atol=1e-8)
    np.testing.assert_array_equal(volume.voxels, expected)
    grid = read_dicom_grid(volume.path, "p1")
    np.testing.assert_array_equal(grid.affine, volume.affine)
    assert grid.voxels.shape == volume.voxels.shape
    assert (grid.times, grid.b_values, grid.start) == (volume.times, volume.b_values, volume.start)


def by_date_time(dataset, frame, place):
    dataset.AcquisitionDateTime = f"{dataset.AcquisitionDate}{dataset.AcquisitionTime}+0100"
    dataset.AcquisitionTime = "120000"


def by_trigger(dataset, frame, place):
    """The time of acquisition is that of the whole series, as some vendors write it."""
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20240228", "101010"
    dataset.TemporalPositionIdentifier = frame + 1
    dataset.TriggerTime = f"{TIMES[frame] * 1000 + 5000:.3f}"


def by_number(keyword, resolution=None):
    def change(dataset, frame, place):
        # An identifier that is the same everywhere says nothing.
        dataset.TemporalPositionIdentifier = 1
        setattr(dataset, keyword, frame + 1)
        dataset.TemporalResolution = resolution

    return change


def slice_by_slice(dataset, frame, place):
    """Interleaved 2D slices: a frame's time is its first slice's, wherever that lies."""
    seconds = 90 * frame + (2 * place) % 4 + place // 2
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20240228", f"10{seconds // 60:02d}{seconds % 60:02d}"


class TestRoundTrip:
    def test_one_frame(self, tmp_path, affine):
        write_classic(tmp_path / "t1", voxels(), affine)
        (tmp_path / "t1" / "readme.txt").write_text("not an image")
        (tmp_path / "t1" / ".DS_Store").write_bytes(b"\0" * 300)
        volume = read_dicom_series(tmp_path / "t1", "p1")
        assert_same(volume, voxels(), affine)
        assert volume.path == tmp_path / "t1"
        assert (volume.times, volume.b_values, volume.start) == (None, None, None)

    @pytest.mark.parametrize("axes", [(1, 1, -1), (-1, 1, 1), (1, -1, -1)])
    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
    def test_any_orientation_is_the_same_place_in_space(self, tmp_path, oblique_affine, axes, order):
        """Stacks whose slices were written against the normal come back flipped, with the affine that says so."""
        rotation = oblique_affine[:3, :3] / np.linalg.norm(oblique_affine[:3, :3], axis=0)
        affine = np.eye(4)
        affine[:3, :3] = (rotation @ np.diag(axes))[:, order] * [0.7, 1.3, 2.5]
        affine[:3, 3] = 11.5, -20.25, 3.0
        expected = voxels(2)
        write_classic(tmp_path, expected, affine, times=(0, 30))
        volume = read_dicom_series(tmp_path, "p1")
        np.testing.assert_array_equal(match_grid(volume, Volume(expected, affine, tmp_path), "p1", 1e-4), expected)

    def test_itk_reads_the_same(self, tmp_path, affine):
        """An independent reader, for the one frame that MONAI's readers are made for."""
        write_classic(tmp_path, voxels(), affine)
        expected = LoadImage(reader="ITKReader", image_only=True)(tmp_path)
        volume = read_dicom_series(tmp_path, "p1")
        np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-4)
        np.testing.assert_array_equal(volume.voxels[0], expected)

    @pytest.mark.parametrize("shape", [(6, 9, 1), (3, 8, 2)])
    def test_few_slices(self, tmp_path, affine, shape):
        write_classic(tmp_path, voxels(2, shape), affine, times=(0, 20))
        assert_same(read_dicom_series(tmp_path, "p1"), voxels(2, shape), affine)

    @pytest.mark.parametrize("separate", [False, True])
    def test_dynamic_series_across_midnight(self, tmp_path, affine, separate):
        paths = write_classic(tmp_path, voxels(6), affine, times=TIMES, folder_for_each_frame=separate)
        assert len({path.parent for path in paths}) == (6 if separate else 1)
        volume = read_dicom_series(tmp_path, "p1")
        assert_same(volume, voxels(6), affine)
        assert volume.times == TIMES
        assert volume.b_values is None
        assert volume.start == (BEGINNING - datetime(1900, 1, 1)).total_seconds()

    @pytest.mark.parametrize("change", [set_to(AcquisitionDate="20240228"), set_to(AcquisitionDate=None), by_date_time])
    def test_other_dates(self, tmp_path, affine, change):
        write_classic(tmp_path, voxels(6), affine, times=TIMES, change=change)
        volume = read_dicom_series(tmp_path, "p1")
        assert_same(volume, voxels(6), affine)
        assert volume.times == TIMES

    @pytest.mark.parametrize(
        ("change", "times"),
        [
            (by_trigger, TIMES[:3]),
            (by_number("TemporalPositionIdentifier"), None),
            (by_number("TemporalPositionIdentifier", "90000"), (0, 90, 180)),
            (by_number("AcquisitionNumber"), None),
            (slice_by_slice, (0, 90, 180)),
        ],
    )
    def test_how_frames_are_told_apart(self, tmp_path, affine, change, times):
        write_classic(tmp_path, voxels(3), affine, change=change)
        volume = read_dicom_series(tmp_path, "p1")
        assert_same(volume, voxels(3), affine)
        assert volume.times == (times and pytest.approx(times, abs=1e-6))

    def test_frames_by_series_number(self, tmp_path, affine):
        write_classic(tmp_path, voxels(3), affine, folder_for_each_frame=True)
        volume = read_dicom_series(tmp_path, "p1")
        assert_same(volume, voxels(3), affine)
        assert volume.times is None

    def test_rescaling_of_each_slice(self, tmp_path, affine):
        def change(dataset, frame, place):
            dataset.RescaleSlope, dataset.RescaleIntercept = f"{0.25 * (place + 1)}", f"{-10 * place}"

        write_classic(tmp_path, voxels(), affine, change=change)
        place = np.arange(4)
        assert_same(read_dicom_series(tmp_path, "p1"), voxels() * 0.25 * (place + 1) - 10 * place, affine)

    @pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.1.3.10"])
    def test_objects_without_an_image_are_passed_over(self, tmp_path, affine, kind):
        """A structured report, and a DICOMDIR."""
        write_classic(tmp_path, voxels(), affine)
        other = pydicom.dcmread(next(tmp_path.iterdir()))
        set_to(Rows=None, Columns=None, PixelData=None, DirectoryRecordSequence=Sequence([]))(other)
        other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = kind
        other.save_as(tmp_path / "DICOMDIR")
        assert_same(read_dicom_series(tmp_path, "p1"), voxels(), affine)


# Group, creator and element of a private b-value, its VR ("UN" where pydicom does not know it), and what is written.
PRIVATE = [
    (0x0019, "SIEMENS MR HEADER", 0x0C, "IS", lambda b: str(int(b))),
    (0x0019, "SIEMENS MR HEADER", 0x0C, "UN", lambda b: f"{b:.0f} ".encode()),
    (0x0019, None, 0x0C, "UN", lambda b: f"{b:.0f}".encode()),  # anonymised
    (0x0043, "GEMS_PARM_01", 0x39, "IS", lambda b: [str(int(b + (1e9 if b else 0))), "8", "0", "0"]),
    (0x2001, "Philips Imaging DD 001", 0x03, "FL", lambda b: b),
    (0x2001, "Philips Imaging DD 001", 0x03, "UN", lambda b: np.float32(b).tobytes()),
]


class TestDiffusion:
    def test_standard_attribute(self, tmp_path, affine):
        order = [2, 0, 3, 1]
        write_classic(tmp_path, voxels(4)[order], affine, b_values=np.array(B_VALUES)[order], times=TIMES[:4])
        volume = read_dicom_series(tmp_path, "p1")
        assert_same(volume, voxels(4), affine)
        assert (volume.b_values, volume.times) == (B_VALUES, None)

    @pytest.mark.parametrize(("group", "creator", "element", "kind", "content"), PRIVATE)
    def test_private_elements(self, tmp_path, affine, group, creator, element, kind, content):
        def change(dataset, frame, place):
            if creator is None:
                dataset.add_new((group, 0x1000 + element), kind, content(B_VALUES[frame]))
            else:
                block = dataset.private_block(group, creator, create=True)
                block.add_new(element, kind, content(B_VALUES[frame]))

        write_classic(tmp_path, voxels(4), affine, change=change)
        volume = read_dicom_series(tmp_path, "p1")
        assert_same(volume, voxels(4), affine)
        assert volume.b_values == B_VALUES

    def test_another_vendors_element_is_no_b_value(self, tmp_path, affine):
        def change(dataset, frame, place):
            dataset.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x0C, "IS", "800")

        write_classic(tmp_path, voxels(), affine, change=change)
        assert read_dicom_series(tmp_path, "p1").b_values is None

    def test_mean_over_directions_and_repetitions(self, tmp_path, affine):
        b_values = (0, 0, 800.2, 799.8, 800)
        write_classic(tmp_path, voxels(5), affine, b_values=b_values)
        volume = read_dicom_series(tmp_path, "p1")
        assert volume.b_values == (0.0, 800.0)
        np.testing.assert_allclose(volume.voxels[0], voxels(5)[:2].mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(volume.voxels[1], voxels(5)[2:].mean(axis=0), rtol=1e-6)

    def test_trace_images_before_directions(self, tmp_path, affine):
        def change(dataset, frame, place):
            if frame:
                dataset.DiffusionDirectionality = "ISOTROPIC" if frame == 3 else "DIRECTIONAL"

        write_classic(tmp_path, voxels(4), affine, b_values=(0, 800, 800, 800), change=change)
        assert_same(read_dicom_series(tmp_path, "p1"), voxels(4)[[0, 3]], affine)

    def test_b_value_zero_alone(self, tmp_path, affine):
        """One frame may be a part of a DWI; a dynamic series of a vendor that always writes b = 0 is none."""
        write_classic(tmp_path / "b0", voxels(), affine, b_values=[0])
        assert read_dicom_series(tmp_path / "b0", "p1").b_values == (0.0,)
        write_classic(tmp_path / "dce", voxels(2), affine, b_values=[0, 0], times=(0, 60))
        volume = read_dicom_series(tmp_path / "dce", "p1")
        assert (volume.b_values, volume.times) == (None, (0.0, 60.0))


class TestEnhanced:
    def test_dynamic(self, tmp_path, affine):
        write_enhanced(tmp_path / "IM1", voxels(6), affine, times=TIMES, slope=0.5)
        volume = read_dicom_series(tmp_path, "p1")
        assert_same(volume, voxels(6) * 0.5, affine)
        assert volume.times == TIMES

    def test_one_file_for_each_frame(self, tmp_path, affine):
        for frame in range(4):
            b_values = B_VALUES[frame : frame + 1]
            write_enhanced(tmp_path / f"b{frame}.dcm", voxels(4)[frame : frame + 1], affine, b_values=b_values)
            dataset = pydicom.dcmread(tmp_path / f"b{frame}.dcm")
            dataset.StudyInstanceUID = "1.2.3"
            dataset.save_as(tmp_path / f"b{frame}.dcm")
        volume = read_dicom_series(tmp_path, "p1")
        assert_same(volume, voxels(4), affine)
        assert volume.b_values == B_VALUES

    def test_frames_without_places(self, tmp_path, affine):
        write_enhanced(tmp_path / "IM1", voxels(2), affine)
        dataset = pydicom.dcmread(tmp_path / "IM1")
        del dataset.PerFrameFunctionalGroupsSequence
        dataset.save_as(tmp_path / "IM1")
        with pytest.raises(ValueError, match="IM1 has 8 frames and says of 1 where they lie"):
            read_dicom_series(tmp_path, "p1")


class TestCompressed:
    def test_lossless_jpeg_for_which_pydicom_has_no_decoder(self, tmp_path, affine):
        """As most archives store images."""
        itk = pytest.importorskip("itk")

        def change(dataset, frame, place):
            target = itk.GDCMImageIO.New(UseCompression=True)
            target.SetCompressor("JPEG")
            pixels = voxels(2)[frame, :, :, place].T.astype(np.int16)
            image = itk.image_from_array(np.ascontiguousarray(pixels)[None])
            path = tmp_path / "itk.dcm"
            itk.imwrite(image, str(path), imageio=target, compression=True)
            compressed = pydicom.dcmread(path)
            assert compressed.file_meta.TransferSyntaxUID.is_compressed
            dataset.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
            for keyword in ("PixelData", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
                setattr(dataset, keyword, compressed[keyword].value)
            dataset["PixelData"].is_undefined_length = True
            dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-7"

        write_classic(tmp_path / "dce", voxels(2), affine, times=(0, 60), change=change)
        assert_same(read_dicom_series(tmp_path / "dce", "p1"), voxels(2) * 2 - 7, affine)

    def test_what_nothing_can_decode_is_named(self, tmp_path, affine):
        def change(dataset, frame, place):
            dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
            dataset.PixelData = encapsulate([b"\xff\xd8no image at all\xff\xd9"])
            dataset["PixelData"].is_undefined_length = True

        write_classic(tmp_path, voxels(), affine, change=change)
        with pytest.raises(ValueError, match=r"IM.*dcm is compressed as JPEG-LS Lossless .*decompress the files first"):
            read_dicom_series(tmp_path, "p1")


def leave_out(dataset):
    return False


def one(change, frame=0):
    """Change one slice of a frame alone."""
    return lambda dataset, *at: change(dataset) if at == (frame, 1) else None


def without_frame_3(dataset, frame, place):
    dataset.TemporalPositionIdentifier = frame + 1
    return dataset if frame != 2 else False


def in_reverse(dataset, frame, place):
    dataset.TemporalPositionIdentifier = 6 - frame


def second_frame_moved(*shift):
    """Move the second frame by millimetres along its rows, columns and normal."""

    def change(dataset, frame, place):
        dataset.TemporalPositionIdentifier = frame + 1
        axes = np.array(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3)
        position = np.array(dataset.ImagePositionPatient, dtype=float)
        position += frame * np.array(shift) @ [*axes, np.cross(*axes)]
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in position]

    return change


class TestErrors:
    def test_no_files(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"Subject 'p1': .*none does not exist or is no folder"):
            read_dicom_series(tmp_path / "none", "p1")
        with pytest.raises(FileNotFoundError, match=r"Subject 'p1': .* is an empty folder"):
            read_dicom_series(tmp_path, "p1")
        (tmp_path / "notes.txt").write_text("no image")
        with pytest.raises(FileNotFoundError, match=r"Subject 'p1': .* has no DICOM image"):
            read_dicom_series(tmp_path, "p1")

    @pytest.mark.parametrize(
        ("frames", "change", "message"),
        [
            (1, one(leave_out), "the slices lie 3 to 6 mm apart, .*a slice is missing"),
            (2, one(leave_out), r"frame 1 of 2 .*has 3 slices where there are 4 positions; it lacks position 2"),
            (2, one(set_to(AcquisitionTime="120000")), "the time of acquisition differs by 61.25 to .* s between the"),
            (1, one(set_to(Rows=7, Columns=5)), "have different sizes, (5 x 7|7 x 5) pixels of .* and (7 x 5|5 x 7)"),
            (1, one(set_to(PixelSpacing=["1", "1"])), "have different sizes"),
            (1, one(set_to(ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"])), "different orientations.*local"),
            (1, one(set_to(ImageOrientationPatient=["1", "0", "0", "1", "0", "0"])), "not two perpendicular"),
            (1, one(set_to(Modality="CT")), "are of different modalities"),
            (1, one(set_to(ImageType=["DERIVED", "PRIMARY", "ADC"])), "are of different maps"),
            (1, one(set_to(ImagePositionPatient=None)), "has no usable ImagePositionPatient"),
            (1, one(set_to(ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"])), "is a mosaic"),
            (1, one(set_to(SamplesPerPixel=3)), "is a colour image"),
            (1, one(set_to(RescaleSlope="nan")), "35 voxels that are NaN or infinite"),
            (2, set_to(AcquisitionTime="12"), r"2 images lie at every slice position, .*PRIMARY\\M.*such as magnitude"),
            (5, without_frame_3, "the frames have TemporalPositionIdentifier 1, 2, 4, 5: frame 3 is missing"),
            (6, in_reverse, r"the time of acquisition puts the frames at 0, -149.5, .* s, which do not increase"),
            (2, second_frame_moved(0, 0, 1.5), "frame 1 of 2 .*or the frames lie on different grids"),
            (2, second_frame_moved(0.9, 0, 0), "lie beside each other, 0.9 mm apart in one plane"),
        ],
    )
    def test_slices_that_do_not_fit(self, tmp_path, affine, frames, change, message):
        write_classic(tmp_path, voxels(frames), affine, times=TIMES[:frames], change=change)
        with pytest.raises(ValueError, match=message) as caught:
            read_dicom_series(tmp_path, "p1")
        assert str(caught.value).startswith(f"Subject 'p1': {tmp_path}")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (one(leave_out, 2), "b = 800 s/mm²: slice position 2 of 4 has 0 images and position 1 has 1"),
            (one(set_to(DiffusionBValue=None)), r"1 of 16 images have no b-value, for example IM.*; remove"),
        ],
    )
    def test_incomplete_diffusion(self, tmp_path, affine, change, message):
        write_classic(tmp_path, voxels(4), affine, b_values=B_VALUES, change=change)
        with pytest.raises(ValueError, match=message):
            read_dicom_series(tmp_path, "p1")

    def test_a_copy_and_a_surplus_image(self, tmp_path, affine):
        path = write_classic(tmp_path, voxels(), affine)[0]
        copy = pydicom.dcmread(path)
        copy.save_as(tmp_path / "more.dcm")
        with pytest.raises(ValueError, match=f"{path.name} and .*more.dcm are the same image; remove one"):
            read_dicom_series(tmp_path, "p1")
        copy.SOPInstanceUID = generate_uid()
        copy.save_as(tmp_path / "more.dcm")
        with pytest.raises(ValueError, match="slice position 2 of 4 has 1 images and position 1 has 2"):
            read_dicom_series(tmp_path, "p1")

    @pytest.mark.parametrize("kept", [0, 100, 200, 500, -100, -1])
    def test_truncated_files(self, tmp_path, affine, kept):
        path = write_classic(tmp_path, voxels(), affine)[1]
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(ValueError, match=f"Subject 'p1': .*{path.name} .*(truncated|copy it again)"):
            read_dicom_series(tmp_path, "p1")

    def test_one_slice_without_thickness(self, tmp_path, affine):
        write_classic(tmp_path, voxels(1, (5, 4, 1)), affine, change=set_to(SliceThickness=None))
        with pytest.raises(ValueError, match="is the only slice and has no SpacingBetweenSlices"):
            read_dicom_series(tmp_path, "p1")
