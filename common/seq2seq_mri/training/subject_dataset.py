# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""MONAI's ``Dataset`` with random transforms that can be repeated, and with the original error when one fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from monai.data import Dataset

__all__ = ["SubjectDataset", "original_error"]


class SubjectDataset(Dataset):
    """Samples of subjects whose random transforms depend on the seed, the epoch and the item's index only.

    The samples of an epoch do not depend on the number of workers, or on whether the epochs before were run in the same
    process. ``set_epoch`` has to be called before the data loader starts an epoch.

    MONAI wraps whatever goes wrong into ``RuntimeError("applying transform …")``; here the original error comes out,
    or, for a batch job that has to go on, a report in place of the sample.

    Args:
        data: the subjects, ``[{"subject": "p1", "t1": "path", ...}, ...]``, or what else has a length and items.
        transform: transforms, composed when they are a sequence.
        on_error: ``"raise"`` the original error, or ``"report"``: return ``{"subject": name, "error": message}``. A
            report has other keys than a sample, so the data loader's ``batch_size`` must be 1.
        seed: seed of the random transforms.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Sequence[Callable] | Callable | None = None,
        on_error: Literal["raise", "report"] = "raise",
        seed: int = 0,
    ) -> None:
        self.on_error = on_error
        self.seed = seed
        # Workers see a change, also persistent ones, because they share this memory.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        super().__init__(data, transform)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random samples are given from now on."""
        self._epoch.fill_(epoch)

    def _transform(self, index: int) -> object:
        index = range(len(self))[index]
        entropy = np.random.SeedSequence([self.seed, int(self._epoch), index])
        self.transform.set_random_state(seed=int(entropy.generate_state(1)[0]))
        try:
            return super()._transform(index)
        except Exception as error:
            original = original_error(error)
            if self.on_error != "report":
                # Its own cause is kept, and only MONAI's wrapping is left out of the traceback.
                raise original from original.__cause__
            # A bad file says all in its message; of what was not foreseen the type is needed as well.
            message = str(original)
            if not isinstance(original, (ValueError, OSError)) or not message:
                message = f"{type(original).__name__}: {message}"
            return {"subject": str(self.data[index].get("subject", index)), "error": message}


def original_error(error: BaseException) -> BaseException:
    """Return the error that MONAI's transforms wrapped, or ``error`` itself when it is not such a wrapping."""
    while isinstance(error, RuntimeError) and str(error).startswith("applying transform") and error.__cause__:
        error = error.__cause__
    return error
