# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Measures the peak memory of the tensors that a computation makes, on any device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

__all__ = ["activation_memory"]


class _LiveTensors(TorchDispatchMode):
    """Counts the bytes of the storages that operations return, until each is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> object:
        before = {value.untyped_storage() for value in tree_iter((args, kwargs)) if isinstance(value, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if not isinstance(value, torch.Tensor):
                continue
            storage = value.untyped_storage()
            # An argument's storage, which views and in-place operations return, is known or was there before the run.
            if storage not in before and storage not in self._known:
                self._known.add(storage)
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._remove, storage.nbytes())
        return result

    def _remove(self, size: int) -> None:
        self.live -= size


def activation_memory(run: Callable[[], None]) -> int:
    """Run a computation and return the most bytes that tensors made by it took at one time.

    Tensors that existed before, such as weights, and workspaces inside of an operation are not counted.

    Example:
        >>> activation_memory(lambda: torch.zeros(256).add(1).mul_(2))
        2048
    """
    with _LiveTensors() as tensors:
        run()
    return tensors.peak
