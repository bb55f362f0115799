# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The data set of the alphabet task: two images of a subject, and the letter that each of them alone shows.

Source: Han et al., Medical Image Analysis 2024, section 4.1 and Fig. 3. Two images of a subject, like two MRI
sequences, show a disc and two letters at the same places. At one place both have the same letter, at the other each has
its own, and that one is its label. A letter itself does not say whether it is the label: only what differs between the
images does.

What must not give the label away does not, by the way a subject is drawn:

- The three letters are different and uniform, drawn independently of all else.
- The two places are drawn alike, and independently of the letters; they stay apart whatever letters they get.
- Letters have one grey value and the disc has another. They are exchanged in the second image, like the contrasts of
  T1- and T2-weighted images. Therefore one image can be predicted from the other, but for the differing letter, and an
  image by itself is distributed like that of a subject whose two letters change roles.

Grey values do not vary from subject to subject, because the generator could not predict them: instance normalisation
(section 3.1) takes an image's brightness and contrast away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from seq2seq_mri.io.datalists.datalist import SECTIONS
from seq2seq_studies.alphabet.glyphs import LETTERS, add_disc, add_letter, letter_reach

__all__ = [
    "ALPHABET_SEQUENCES",
    "AlphabetDataset",
    "AlphabetSubject",
    "Place",
    "draw_images",
    "draw_subject",
]

#: The sequence table of the task.
ALPHABET_SEQUENCES = {"x1": 1, "x2": 1}

#: Lengths are fractions of the image's shorter side: 20 to 31 pixels for a letter in 128 × 128.
LETTER_HEIGHTS = (0.16, 0.24)
DISC_RADII = (0.05, 0.10)
LARGEST_ANGLE = 15.0
#: Grey values in x1 and in x2.
LETTER_GREYS = (0.9, 0.5)
DISC_GREYS = (0.5, 0.9)
SMALLEST_SIDE = 32


@dataclass(frozen=True)
class Place:
    """Where and how a letter is drawn; which one does not matter."""

    centre: tuple[float, float]  # row and column of its middle, in pixels of the upright picture
    height: float  # of a capital H, in pixels
    angle: float  # by which it is turned counter-clockwise, in degrees


@dataclass(frozen=True)
class AlphabetSubject:
    """What a subject's two images show; lengths in pixels of the upright picture."""

    letters: tuple[int, int, int]  # numbers (0 to 25) of the differing letter of x1, that of x2, and the common letter
    differing: Place  # where the images differ
    common: Place  # where they have the same letter
    disc_centre: tuple[float, float]  # row and column
    disc_radius: float


class AlphabetDataset(Dataset):
    """The alphabet task as samples in the form of :class:`LoadImageSequencesd`.

    A sample is made when it is asked for, and depends on the section, its index, the seed and the options, but not on
    the size. Samples of different sections or seeds have nothing in common.

    Args:
        section: ``"training"``, ``"validation"`` or ``"testing"``.
        size: number of samples; the paper has 9,000, 1,000 and 10,000 of the three sections.
        seed: non-negative.
        shape: pixels along X and Y, at least 32 each.

    Raises:
        ValueError: when an argument cannot be used.

    Example:
        >>> sample = AlphabetDataset("training", size=9000)[12]
        >>> sample["subject"], sample["image"].shape, [LETTERS[label] for label in sample["label"]]
        ('training-00012', torch.Size([2, 128, 128, 1]), ['S', 'Z'])
    """

    def __init__(self, section: str, size: int, seed: int = 0, shape: Sequence[int] = (128, 128)) -> None:
        if size < 1 or seed < 0:
            raise ValueError(f"The alphabet dataset has size {size} and seed {seed}; give at least 1 and 0.")
        if len(shape) != 2 or min(shape) < SMALLEST_SIDE:
            raise ValueError(f"The shape is {tuple(shape)}; give two sizes of at least {SMALLEST_SIDE} pixels.")
        self.section = section
        self.size = size
        self.seed = seed
        self.shape = tuple(shape)

    @property
    def parameters(self) -> dict[str, object]:
        """All that the samples depend on; can be written as JSON."""
        given = {"section": self.section, "size": self.size, "seed": self.seed, "shape": list(self.shape)}
        return {"name": "alphabet", **given, "noise": 0.0}  # as files on disk have it

    @property
    def entries(self) -> list[dict[str, object]]:
        """One entry per sample as in a datalist, with labels by image, ``{"x1": 18, "x2": 25}``; makes no images."""
        letters = (self._draw(index).letters for index in range(self.size))
        labels = (dict(zip(ALPHABET_SEQUENCES, drawn, strict=False)) for drawn in letters)
        named = zip(self.subjects, labels, strict=True)
        return [{"subject": name, "patient": name, "label": label} for name, label in named]

    @property
    def subjects(self) -> list[str]:
        """Names of all samples' subjects."""
        return [f"{self.section}-{index:05d}" for index in range(self.size)]

    def _draw(self, index: int) -> AlphabetSubject:
        return draw_subject(self.section, index, self.seed, self.shape)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Make one sample.

        Returns:
            A dictionary:
            ``subject``: its name, ``"training-00012"``;
            ``image``: float32 ``[2, X, Y, 1]`` in [0, 1], background 0: x1 and x2;
            ``available``, ``measured``: bool ``[2]``, all true;
            ``label``: int64 ``[2]``: the number of the differing letter of x1, and of x2;
            ``common``: int64 scalar: the number of the common letter;
            ``masks``: uint8 ``[3, X, Y, 1]``, 1 where the differing letter of x1, that of x2 and the common one are.
        """
        index = range(self.size)[index]
        subject = self._draw(index)
        images, masks = draw_images(subject, self.shape)
        return {
            "subject": f"{self.section}-{index:05d}",
            "image": torch.from_numpy(images[..., None]),
            "available": torch.ones(2, dtype=torch.bool),
            "measured": torch.ones(2, dtype=torch.bool),
            "label": torch.tensor(subject.letters[:2]),
            "common": torch.tensor(subject.letters[2]),
            "masks": torch.from_numpy(masks[..., None]),
        }


def draw_subject(section: str, index: int, seed: int = 0, shape: Sequence[int] = (128, 128)) -> AlphabetSubject:
    """Choose at random what the images of a section's ``index``-th subject show.

    All lengths grow with the shorter side of ``shape``, pixels along X and Y.
    """
    random = np.random.default_rng([seed, SECTIONS.index(section), index, 0])
    side = min(shape)
    first, second, common = random.permutation(len(LETTERS))[:3].tolist()
    heights = random.uniform(*LETTER_HEIGHTS, 2) * side
    radius = random.uniform(*DISC_RADII) * side
    angles = random.uniform(-LARGEST_ANGLE, LARGEST_ANGLE, 2)
    # Room for any letter, or where it finds room would say something about which one it is.
    centres = _separate(random, np.array([*(heights * letter_reach()), radius]) + 1, (shape[1], shape[0]))
    # The two places are exchangeable: calling the first one the differing place is as random as tossing a coin.
    differing, same = (Place(centres[k], float(heights[k]), float(angles[k])) for k in (0, 1))
    return AlphabetSubject((first, second, common), differing, same, centres[2], float(radius))


def draw_images(subject: AlphabetSubject, shape: Sequence[int] = (128, 128)) -> tuple[np.ndarray, np.ndarray]:
    """Draw a subject's two images, upright in the project's view of axial slices.

    Args:
        subject: what they show.
        shape: that with which the subject was drawn.

    Returns:
        x1 and x2, float32 ``[2, X, Y]`` in [0, 1]; and uint8 ``[3, X, Y]``, 1 at each pixel that the differing letter
        of x1, that of x2 and the common letter touch.
    """
    disc, *letters = coverage = np.zeros((4, shape[1], shape[0]), dtype=np.float32)
    add_disc(disc, subject.disc_centre, subject.disc_radius)
    places = (subject.differing, subject.differing, subject.common)
    for canvas, letter, place in zip(letters, subject.letters, places, strict=True):
        add_letter(canvas, letter, place.centre, place.height, place.angle)
    images = [
        disc_grey * disc + letter_grey * (own + letters[2])
        for own, letter_grey, disc_grey in zip(letters, LETTER_GREYS, DISC_GREYS, strict=False)
    ]
    return _volume(np.stack(images)), _volume((coverage[1:] > 0).astype(np.uint8))


def _volume(pictures: np.ndarray) -> np.ndarray:
    """Turn pictures ``[n, rows, columns]`` into ``[n, X, Y]`` in RAS orientation, as they are turned back for display.

    There, the first row shows the largest Y (anterior), and the first column the largest X (the patient's right).
    """
    return np.ascontiguousarray(pictures[:, ::-1, ::-1].transpose(0, 2, 1))


def _separate(random: np.random.Generator, radii: np.ndarray, size: tuple[int, int]) -> list[tuple[float, float]]:
    """Return uniformly random centres (row, column) of circles that lie in the picture and do not overlap."""
    ends = np.array(size) - 1 - radii[:, None]
    starts = np.broadcast_to(radii[:, None], ends.shape)
    first, second = np.triu_indices(len(radii), k=1)
    while True:
        # All centres anew each time: placing one after the other would favour corners for some.
        candidates = random.uniform(starts, ends, (16, *ends.shape))
        distances = np.linalg.norm(candidates[:, first] - candidates[:, second], axis=-1)
        apart = (distances >= radii[first] + radii[second]).all(axis=1)
        if apart.any():
            return [(float(row), float(column)) for row, column in candidates[apart.argmax()]]
