# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Choosing the subjects of a comparison, and writing them as nnU-Net's raw data set."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from seq2seq_studies.segmentation.combination import Combination, parse_combinations
from seq2seq_studies.segmentation.export import export_combination
from seq2seq_studies.segmentation.segmentation_settings import SegmentationSettings
from seq2seq_studies.segmentation.subjects import SegmentationSubject, find_convention, select_subjects

TABLE = {"t1": 1, "t1gd": 1, "dce": 2}


def chosen(datalist: Path, *texts: str, **options) -> tuple[list[Combination], list[SegmentationSubject]]:
    combinations = parse_combinations(texts, TABLE)
    return combinations, select_subjects(SegmentationSettings(datalist, "out", **options), "training", combinations)


def export(folder: Path, combination: Combination, training: list, testing: list, convention: str, **options) -> None:
    export_combination(folder, combination, TABLE, {"training": training, "testing": testing}, convention, **options)


def edit(datalist: Path, change) -> None:
    content = json.loads(datalist.read_text())
    change(content["training"])
    datalist.write_text(json.dumps(content))


def test_files_channels_and_geometry(cohort, tmp_path) -> None:
    datalist = cohort(enhancing=4)
    (combination, _), subjects = chosen(datalist, "dce+t1", "t1gd")
    folder = tmp_path / "raw" / "Dataset001_x"
    export(folder, combination, subjects[:3], subjects[3:], "1,2,4")

    assert sorted(path.name for path in folder.iterdir()) == [
        "dataset.json", "imagesTr", "imagesTs", "labelsTr", "labelsTs",
    ]  # fmt: skip
    content = json.loads((folder / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "t1", "1": "dce 0", "2": "dce 1"}
    assert content["numTraining"] == 3
    regions = {"whole tumour": [1, 2, 3], "tumour core": [2, 3], "enhancing tumour": [3]}
    assert content["labels"] == {"background": 0, **regions}
    assert content["regions_class_order"] == [1, 2, 3]
    assert content["file_ending"] == ".nii.gz"
    names = sorted(path.name for path in (folder / "imagesTs").iterdir())
    assert names == [f"p{number}_{channel:04d}.nii.gz" for number in (3, 4) for channel in range(3)]
    for number in (0, 4):
        group = "Tr" if number < 3 else "Ts"
        for channel, tens in enumerate((0, 20, 21)):
            image = nibabel.load(folder / f"images{group}" / f"p{number}_{channel:04d}.nii.gz")
            np.testing.assert_array_equal(np.floor(image.get_fdata()), 100 * number + tens)
            source = nibabel.load(datalist.parent / f"p{number}" / f"p{number}-seg.nii.gz")
            np.testing.assert_array_equal(image.affine, source.affine)
            assert image.shape == source.shape
            for code in ("qform_code", "sform_code"):
                assert image.header[code] == source.header[code]
        labels = nibabel.load(folder / f"labels{group}" / f"p{number}.nii.gz")
        before = np.asarray(source.dataobj)
        expected = np.select([before == 2, before == 1, before == 4], [1, 2, 3], 0)
        np.testing.assert_array_equal(labels.get_fdata(), expected)
        np.testing.assert_array_equal(labels.affine, source.affine)


def test_a_failed_export_leaves_nothing_behind(cohort, tmp_path) -> None:
    (combination, _), subjects = chosen(cohort(), "t1", "t1gd")
    image = nibabel.load(subjects[3].segmentation)
    nibabel.save(nibabel.Nifti1Image(np.full(image.shape, 4, np.uint8), image.affine), subjects[3].segmentation)
    folder = tmp_path / "raw" / "Dataset001_x"
    with pytest.raises(ValueError, match=r"'p3': .*p3-seg.nii.gz has the label 4, which the numbering 1,2,3 has not"):
        export(folder, combination, subjects, [], "1,2,3")
    assert not list(folder.parent.iterdir())


def test_another_orientation_is_reoriented_and_another_grid_refused(cohort, tmp_path) -> None:
    datalist = cohort()
    (combination, _), subjects = chosen(datalist, "t1", "t1gd")
    path = datalist.parent / "p0" / "p0_t1.nii.gz"
    original = nibabel.load(path)
    expected = original.get_fdata()
    nibabel.save(original.as_reoriented(np.array([[0, -1], [1, 1], [2, 1]])), path)
    export(tmp_path / "a" / "x", combination, subjects[:1], [], "1,2,3")
    exported = nibabel.load(tmp_path / "a" / "x" / "imagesTr" / "p0_0000.nii.gz")
    np.testing.assert_array_equal(exported.get_fdata(), expected)

    shifted = original.affine.copy()
    shifted[0, 3] += 0.7
    nibabel.save(nibabel.Nifti1Image(expected.astype(np.float32), shifted), path)
    with pytest.raises(ValueError, match="lie on different grids"):
        export(tmp_path / "b" / "x", combination, subjects[:1], [], "1,2,3")
    export(tmp_path / "c" / "x", combination, subjects[:1], [], "1,2,3", resample=True)


def test_synthesised_sequences_come_from_the_output_of_inference(cohort, tmp_path) -> None:
    datalist = cohort()
    made = tmp_path / "made"
    with pytest.raises(ValueError, match=r"p0 lacks t1gd synthesised \(.*p0_t1gd.nii.gz\)"):
        chosen(datalist, "t1+t1gd:synthesised", "t1", synthesised_dir=made)
    for number in range(5):
        source = nibabel.load(datalist.parent / f"p{number}" / f"p{number}-seg.nii.gz")
        (made / f"p{number}").mkdir(parents=True)
        image = nibabel.Nifti1Image(np.random.default_rng(number).random(source.shape, np.float32), source.affine)
        nibabel.save(image, made / f"p{number}" / f"p{number}_t1gd.nii.gz")
    (combination, _), subjects = chosen(datalist, "t1+t1gd:synthesised", "t1", synthesised_dir=made)
    folder = tmp_path / "raw" / "x"
    export(folder, combination, subjects, [], "1,2,3")
    exported = nibabel.load(folder / "imagesTr" / "p2_0001.nii.gz").get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(exported, np.random.default_rng(2).random(exported.shape, np.float32))
    names = json.loads((folder / "dataset.json").read_text())["channel_names"]
    assert names == {"0": "t1", "1": "t1gd synthesised"}


def test_every_combination_has_the_same_subjects_and_withheld_sequences_only_when_asked_for(cohort) -> None:
    datalist = cohort()
    edit(datalist, lambda entries: entries[1].pop("t1gd"))
    with pytest.raises(ValueError, match="but p1 lacks t1gd measured"):
        chosen(datalist, "t1+t1gd", "t1")
    _, subjects = chosen(datalist, "t1+t1gd", "t1", incomplete="leave_out")
    assert [subject.name for subject in subjects] == ["p0", "p2", "p3", "p4"]
    _, subjects = chosen(datalist, "t1+dce", "t1")  # t1gd is not needed
    assert len(subjects) == 5
    withheld = {"t1gd": "p1/p1_t1gd.nii.gz"}
    edit(datalist, lambda entries: entries[1].update(withheld=withheld))
    with pytest.raises(ValueError, match="p1 lacks t1gd measured"):
        chosen(datalist, "t1+t1gd", "t1")
    _, subjects = chosen(datalist, "t1+t1gd", "t1", withheld=True)
    assert Path(str(subjects[1].measured["t1gd"])).name == "p1_t1gd.nii.gz"


def test_segmentations_that_the_datalist_does_not_name_and_their_numbering(cohort) -> None:
    datalist = cohort(without_lesion=True)
    with pytest.raises(ValueError, match="p0 lacks its segmentation"):
        chosen(datalist, "t1+t1gd", "t1")
    _, subjects = chosen(datalist, "t1+t1gd", "t1", segmentation="{subject}/{subject}-seg.nii.gz")
    assert find_convention(subjects) == find_convention(subjects, "1,2,3") == "1,2,3"
