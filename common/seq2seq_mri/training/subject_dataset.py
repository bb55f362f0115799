# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A data set of subjects whose errors can be read and whose randomness can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from monai.data import Dataset

__all__ = ["SubjectDataset", "original_error", "partition"]

_Item = TypeVar("_Item")


class SubjectDataset(Dataset):
    """MONAI's ``Dataset`` with readable errors and with randomness that depends on (seed, epoch, index) only.

    Errors: MONAI wraps whatever goes wrong into ``RuntimeError("applying transform …")``; here the original error comes
    out, or, for a batch job that has to go on, a report in place of the sample.

    Randomness: before each item the random transforms are seeded from the seed, the epoch and the item's index.
    Therefore the samples of an epoch do not depend on the number of workers, or on whether the epochs before were run
    in the same process. ``set_epoch`` has to be called before the data loader starts an epoch; workers see it, also
    persistent ones, because the epoch lies in memory that they share.

    Args:
        data: the subjects, ``[{"subject": "p1", "t1": "path", ...}, ...]``, or what else has a length and items.
        transform: transforms, composed when they are a sequence.
        on_error: ``"raise"`` the original error, or ``"report"``: return ``{"subject": name, "error": message}``. A
            report has other keys than a sample, so the data loader's ``batch_size`` must be 1.
        seed: seed of the random transforms.

    Raises:
        ValueError: when ``on_error`` is neither of the two.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Sequence[Callable] | Callable | None = None,
        on_error: str = "raise",
        seed: int = 0,
    ) -> None:
        if on_error not in ("raise", "report"):
            raise ValueError(f"on_error is {on_error!r}; give 'raise' or 'report'.")
        self.on_error = on_error
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        super().__init__(data, transform)

    @property
    def epoch(self) -> int:
        """The epoch whose random samples are given."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random samples are given from now on."""
        self._epoch.fill_(epoch)

    def _transform(self, index: int) -> Any:
        index = range(len(self))[index]
        entropy = np.random.SeedSequence([self.seed, self.epoch, index])
        self.transform.set_random_state(seed=int(entropy.generate_state(1)[0]))
        try:
            return super()._transform(index)
        except Exception as error:
            return self._report_or_raise(index, error)

    def _report_or_raise(self, index: int, error: Exception) -> dict[str, str]:
        original = original_error(error)
        if self.on_error == "raise":
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


def partition(items: Sequence[_Item], rank: int, world_size: int) -> list[_Item]:
    """Return the items of one of several processes: every ``world_size``-th, from ``rank`` on.

    No item is repeated or dropped, so the parts may differ in length by one, and may be empty. (MONAI's
    ``partition_dataset`` refuses fewer items than processes.)

    Raises:
        ValueError: when ``rank`` is not in ``0 … world_size - 1``.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank} of {world_size} processes; give 0 to {world_size - 1}.")
    return list(items[rank::world_size])
