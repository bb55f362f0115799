# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Work with several processes of ``torchrun``: shares of subjects, devices, mean gradients and gathered tables.

The training step calls the generator's ``encode`` and ``decode`` separately, so that an encoding serves several
targets. DistributedDataParallel synchronises only what goes through ``forward``; gradients are averaged here instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist

from seq2seq_mri.files import check_writable_directory, lock_directory

__all__ = [
    "average_gradients",
    "broadcast_parameters",
    "claim_output",
    "default_workers",
    "finalize_distributed",
    "gather_rows",
    "initialize_distributed",
    "own_share",
    "rank",
    "select_device",
    "world_size",
]

# Four processes load some 2,000 slices per second, more than any step takes.
_MOST_WORKERS = 4

_Item = TypeVar("_Item")


def initialize_distributed(backend: str | None = None) -> None:
    """Join the process group that ``torchrun`` describes in the environment; do nothing in a single process.

    The ``backend`` is by default ``"nccl"`` where CUDA is available, else ``"gloo"``.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group(backend or ("nccl" if torch.cuda.is_available() else "gloo"))


def finalize_distributed() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Return this process's number, 0 in a single process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes, 1 in a single process."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def select_device(name: str | None = None) -> torch.device:
    """Return the device to compute on: ``name`` if given, else this process's own GPU, else the CPU."""
    if name:
        return torch.device(name)
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
        return device
    return torch.device("cpu")


def default_workers() -> int:
    """Return how many processes load data: a machine's cores, shared by its training processes, 1 to 4."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def own_share(items: Sequence[_Item]) -> list[_Item]:
    """Return the items of this process, every n-th of n processes; shares differ in length by one, or are empty.

    (MONAI's ``partition_dataset`` refuses fewer items than processes.)
    """
    return list(items[rank() :: world_size()])


def claim_output(directory: str | os.PathLike) -> Path:
    """Return the checked output directory of a job, out of which its first process keeps other jobs.

    Raises:
        ValueError: when it cannot be written, or another job is writing into it.
    """
    folder = check_writable_directory(directory)
    if rank() == 0:
        lock_directory(folder)
    return folder


def broadcast_parameters(module: torch.nn.Module) -> None:
    """Give every process the parameters and buffers of process 0."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes; a gradient that a process lacks counts as zero.

    One collective over one flat buffer. A parameter that no process used has no gradient afterwards, as in a single
    process: with a gradient of zero, an optimizer would still move it by its momentum.
    """
    if world_size() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    used = trained[0].new_tensor([parameter.grad is not None for parameter in trained])
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    flat = torch.cat([used, *(gradient.flatten() for gradient in gradients)])
    dist.all_reduce(flat)
    used, *parts = flat.split([len(trained), *(parameter.numel() for parameter in trained)])
    for parameter, count, part in zip(trained, used.tolist(), parts, strict=True):
        parameter.grad = (part / world_size()).view_as(parameter) if count > 0 else None


def gather_rows(rows: list[_Item]) -> list[_Item]:
    """Return the rows of all processes on process 0, in the order of the processes, and an empty list on the others.

    Pickle is confined to the processes of one launch (torch.distributed's own object collectives).
    """
    if world_size() == 1:
        return list(rows)
    gathered: list[list[_Item]] = [[]] * world_size()
    dist.all_gather_object(gathered, rows)
    return [row for part in gathered for row in part] if rank() == 0 else []
