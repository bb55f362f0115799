# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Whether M_d lights up the letter that an image alone shows, and not the one that both show (section 4.1, Fig. 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["format_letter_differentiation", "letter_differentiation"]


def letter_differentiation(
    samples: Iterable[Mapping[str, Any]], images: Sequence[str], key: str = "differentiation"
) -> pd.DataFrame:
    """Compare M_d inside the differing letter with M_d inside the common one.

    Args:
        samples: of the alphabet task, with maps: ``masks`` ``[3, X, Y, 1]`` as
            :class:`AlphabetDataset` gives them, and maps ``[2, X, Y, 1]``.
        images: names of the two images.
        key: of the maps.

    Returns:
        Table with a row for each image: ``image``; ``differing`` and ``common``, the mean over subjects of the mean M_d
        inside the image's own letter and inside the common one, in units of the intensity range; ``ratio``, the first
        divided by the second; ``right``, the fraction of subjects in which the differing letter has the larger mean;
        ``n``, the number of subjects.

    Raises:
        ValueError: when there is no sample.
    """
    inside = []
    for sample in samples:
        masks, maps = np.asarray(sample["masks"]).astype(bool), np.asarray(sample[key], dtype=np.float64)
        inside.append([[maps[image][masks[image]].mean(), maps[image][masks[2]].mean()] for image in range(2)])
    if not inside:
        raise ValueError("There is no subject of the alphabet task to measure M_d on.")
    means = np.asarray(inside, dtype=float)
    differing, common = means.mean(axis=0).T
    return pd.DataFrame(
        {
            "image": list(images),
            "differing": differing,
            "common": common,
            "ratio": differing / common,
            "right": (means[:, :, 0] > means[:, :, 1]).mean(axis=0),
            "n": len(means),
        }
    )


def format_letter_differentiation(table: pd.DataFrame) -> str:
    """Return the table of :func:`letter_differentiation` as Markdown."""
    lines = ["| Image | Subjects | Mean M_d, differing letter | Mean M_d, common letter | Ratio | Differing > common |"]
    lines.append("|---|---|---|---|---|---|")
    lines += [
        f"| {row['image']} | {row['n']:,} | {row['differing']:.4f} | {row['common']:.4f} | {row['ratio']:.1f} "
        f"| {100 * row['right']:.1f} % |"
        for row in table.to_dict("records")
    ]
    return "\n".join(lines)
