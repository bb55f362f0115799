# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Both numberings of BraTS's labels, and what is neither."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq_studies.segmentation.brats_labels import detect_convention, label_values, regions_of, to_nested_labels


@pytest.mark.parametrize(("labels", "convention"), [([set(), {1, 2, 3}], "1,2,3"), ([{1, 2, 4}, {2}], "1,2,4")])
def test_tells_the_numbering(labels, convention) -> None:
    assert detect_convention({f"p{place}": values for place, values in enumerate(labels)}) == convention


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([{1, 2}, {2}], "No subject has the label 3 or 4"),
        ([{3}, {1, 4}], "subject 'p0' has 3, subject 'p1' has 4"),
        ([{1}, {7}], "Subject 'p1' has the label 7"),
    ],
)
def test_refuses_what_is_ambiguous_or_other(labels, message) -> None:
    with pytest.raises(ValueError, match=message):
        detect_convention({f"p{place}": values for place, values in enumerate(labels)})


@pytest.mark.parametrize("value", [0.5, -1.0])
def test_labels_are_whole_numbers(value) -> None:
    with pytest.raises(ValueError, match=f"seg.nii has the value {value:g}"):
        label_values(np.array([0.0, value]), "seg.nii")


@pytest.mark.parametrize(("convention", "enhancing"), [("1,2,3", 3), ("1,2,4", 4)])
def test_regions_are_those_of_brats(convention, enhancing) -> None:
    random = np.random.default_rng(0)
    segmentation = random.choice([0, 1, 2, enhancing], size=(5, 6, 7)).astype(np.float32)
    nested = to_nested_labels(segmentation, convention, "seg.nii")
    regions = regions_of(nested)
    assert nested.dtype == np.uint8
    np.testing.assert_array_equal(regions["ET"], segmentation == enhancing)
    np.testing.assert_array_equal(regions["TC"], np.isin(segmentation, [1, enhancing]))
    np.testing.assert_array_equal(regions["WT"], segmentation > 0)
    assert (regions["ET"] <= regions["TC"]).all()
    assert (regions["TC"] <= regions["WT"]).all()
