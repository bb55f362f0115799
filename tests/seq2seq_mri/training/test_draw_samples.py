# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Training samples: whole slices and parts of volumes, drawn where there is tissue."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Compose, CropForegroundd, Orientationd, RandFlipd, ResizeWithPadOrCrop, SpatialPad

from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.training.draw_samples import RandTissueCropd, RandTissueSliced
from seq2seq_mri.training.prepared_subjects import PreparedSubjects
from seq2seq_mri.transforms.intensity import NormalizeSequencesd
from seq2seq_mri.transforms.slice_stack import slice_stacks

TABLE = {"t1": 1, "dce": 2}
BRATS = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}


class InMemory:
    """Stands in for the file of a prepared subject."""

    def __init__(self, slices: np.ndarray) -> None:
        self.slices, self.shape = slices, slices.shape

    def __len__(self) -> int:
        return len(self.slices)

    def read(self, first: int, last: int) -> np.ndarray:
        assert 0 <= first < last <= len(self.slices)
        return self.slices[first:last]

    def map(self) -> np.ndarray:
        return self.slices


def subject(image: torch.Tensor, available: tuple[bool, ...] = (True, True)) -> dict:
    """Return ``[ΣT, X, Y, Z]`` as prepared subjects come."""
    slices = image.half().movedim(-1, 0).contiguous()
    tissue = (slices > slices.min()).flatten(2).sum(dim=2).numpy()
    return {"subject": "p1", "image": InMemory(slices.numpy()), "tissue": tissue, "available": torch.tensor(available)}


def noise(shape: tuple[int, ...]) -> torch.Tensor:
    """Return values in 0.1 … 1, each exact in half precision."""
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.1).half().float()


def draws(transform, sample: dict, number: int = 60) -> list[dict]:
    transform.set_random_state(0)
    return [transform(sample) for _ in range(number)]


def middles(transform, sample: dict, number: int = 200) -> set[int]:
    """Return the slices that are drawn; the image's first voxel is the slice's number."""
    sample["image"].slices[:, 0, 0, 0] = np.arange(len(sample["image"]))
    return {int(drawn["image"][0, 0, 0, drawn["image"].shape[-1] // 2]) for drawn in draws(transform, sample, number)}


@pytest.mark.parametrize("slice_size", [(7, 9), (12, 16), (5, 16), (11, 4)])
@pytest.mark.parametrize(("in_channels", "depth"), [(1, 6), (3, 6), (5, 6), (3, 1)])
def test_a_slice_is_what_inference_makes_of_it(slice_size, in_channels, depth) -> None:
    """Neighbours as the inferer takes them, padded or cut as MONAI does."""
    image = noise((3, 8, 9, depth))
    transform = RandTissueSliced(TABLE, slice_size, in_channels)
    resize = ResizeWithPadOrCrop(slice_size)
    stacks = slice_stacks(image, range(depth), in_channels)
    whole = torch.stack([torch.stack([resize(frame).as_tensor() for frame in stack]) for stack in stacks])
    expected = whole.permute(0, 1, 3, 4, 2)
    seen = set()
    for drawn in draws(transform, subject(image)):
        assert drawn.keys() == {"subject", "image", "available"}
        assert type(drawn["image"]) is torch.Tensor
        assert drawn["image"].dtype == torch.float16
        assert drawn["image"].shape == (3, *slice_size, in_channels)
        match = [index for index in range(depth) if torch.equal(drawn["image"].float(), expected[index])]
        assert len(match) == 1
        seen.add(match[0])
    assert seen == set(range(depth))


def tissue_in(t1: list[int], dce: list[int], voxels: int = 20, depth: int = 7) -> torch.Tensor:
    """Return an image whose sequences have so many voxels of tissue in these slices; a slice has 100."""
    image = torch.zeros(3, 10, 10, depth)
    for channel, slices in ((0, t1), (2, dce)):
        for index in slices:
            image[channel].flatten(0, 1)[40 : 40 + voxels, index] = 0.5
    return image


@pytest.mark.parametrize(
    ("t1", "dce", "available", "expected"),
    [
        ([1, 2, 3], [2, 3, 5], (True, True), {2, 3}),  # both have tissue
        ([1, 2], [4, 5], (True, True), {1, 2, 4, 5}),  # no slice in which both have
        ([1, 2], [], (True, False), {1, 2}),
        ([1, 2], [2, 4], (False, True), {2, 4}),  # what is not available does not count
        ([6], [6], (True, True), {6}),
    ],
)
@pytest.mark.parametrize(
    "make", [lambda: RandTissueSliced(TABLE, (10, 10), 1), lambda: RandTissueCropd(TABLE, (10, 10, 1))]
)
def test_slices_with_tissue_are_drawn(t1, dce, available, expected, make) -> None:
    assert middles(make(), subject(tissue_in(t1, dce), available)) == expected


def test_how_much_tissue_there_must_be() -> None:
    image = tissue_in([2, 3], [2, 3], voxels=20)
    image[:, 5, 5, 1] = 0.5  # one voxel of a hundred
    assert middles(RandTissueSliced(TABLE, (10, 10), 3), subject(image)) == {2, 3}
    assert middles(RandTissueSliced(TABLE, (10, 10), 3, min_tissue=0.01), subject(image)) == {1, 2, 3}
    assert middles(RandTissueSliced(TABLE, (10, 10), 3, min_tissue=0), subject(image)) == {1, 2, 3}


def test_tissue_of_one_voxel_is_found() -> None:
    image = torch.zeros(3, 10, 10, 7)
    image[1, 4, 5, 3] = 1
    sample = subject(image)
    for transform in (RandTissueSliced(TABLE, (12, 8), 3), RandTissueCropd(TABLE, (3, 4, 5))):
        for drawn in draws(transform, sample):
            assert drawn["image"].sum() == 1


def test_background_may_have_any_value_but_there_must_be_tissue() -> None:
    """The released code's range is -1 … 1."""
    assert middles(RandTissueSliced(TABLE, (10, 10), 1), subject(tissue_in([2], [2]) * 2 - 1)) == {2}
    with pytest.raises(ValueError, match="Subject 'p1' has no tissue in any slice"):
        RandTissueSliced(TABLE, (10, 10), 1)(subject(torch.zeros(3, 10, 10, 7)))


@pytest.mark.parametrize("crop_size", [(4, 5, 3), (8, 9, 6), (10, 5, 9), (11, 12, 7)])
def test_a_part_lies_in_the_volume_and_holds_the_tissue(crop_size) -> None:
    image = torch.zeros(3, 8, 9, 6)
    image[:, 2, 6, 4] = image[:, 5, 1, 1] = 0.5
    image[:, 0, 0, 0] = torch.tensor([0.25, 0.5, 0.75])
    windows = SpatialPad(crop_size)(image).as_tensor()
    for axis, size in enumerate(crop_size, start=1):
        windows = windows.unfold(axis, size, 1)
    windows = windows.permute(1, 2, 3, 0, 4, 5, 6).flatten(0, 2)
    for drawn in draws(RandTissueCropd(TABLE, crop_size), subject(image)):
        assert drawn["image"].shape == (3, *crop_size)
        assert drawn["image"].dtype == torch.float16
        assert (drawn["image"] > 0).any()
        assert any(torch.equal(window, drawn["image"].float()) for window in windows)


def test_every_place_of_a_part_is_possible() -> None:
    """In a volume full of tissue the parts reach both ends of each axis."""
    image = noise((3, 6, 7, 8))
    drawn = draws(RandTissueCropd(TABLE, (5, 5, 5)), subject(image), 400)
    seen = {tuple(part["image"][0, 0, 0].tolist()) for part in drawn}
    corners = {tuple(image[0, x, y, z : z + 5].half().tolist()) for x in range(2) for y in range(3) for z in range(4)}
    assert seen == corners


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (RandTissueSliced, ((8, 8), 2), "in_channels is 2; .* an odd number"),
        (RandTissueSliced, ((8, 8, 8), 3), r"slice_size is \[8, 8, 8\]; give 2"),
        (RandTissueSliced, ((8, 0), 3), "slice_size"),
        (RandTissueCropd, ((8, 8),), r"crop_size is \[8, 8\]; give 3"),
        (RandTissueSliced, ((8, 8), 3, 2), "min_tissue is 2"),
    ],
)
def test_mistakes(kind, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        kind(TABLE, *arguments)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["TCGA-DU-7294", "patient07"])
def test_slices_of_real_patients(real_subject, tmp_path, name) -> None:
    """The bundle's size holds the whole brain, no slice is empty, and all parts of it are drawn."""
    prepare = Compose(
        [
            LoadImageSequencesd(BRATS),
            Orientationd(keys="image", axcodes="RAS", labels=None),
            CropForegroundd(keys="image", source_key="image", start_coord_key=None, end_coord_key=None),
            NormalizeSequencesd(BRATS),
        ]
    )
    prepared = PreparedSubjects([real_subject(name)], prepare, tmp_path, differentiation=False)
    width, height = prepared.stored(0)["image"].shape[2:]
    assert width <= 160
    assert height <= 192
    transform = Compose([RandTissueSliced(BRATS, (160, 192), 3), RandFlipd(keys="image", prob=0.5, spatial_axis=0)])
    for drawn in draws(transform, prepared.stored(0), 40):
        tissue = (drawn["image"][..., 1] > 0).sum(dim=(1, 2))
        assert (tissue >= 0.02 * width * height).sum() >= 2
