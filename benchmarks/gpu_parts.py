# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What ``on_gpu.py`` measures, each part in a process of its own: ``gpu_parts.py PART SETTING``."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["Setting", "write_row"]

BATCHES = (1, 8, 16, 32, 64)
WARM_UP = 3  # runs that are not counted


@dataclass
class Setting:
    """How parts run.

    Attributes:
        device: ``cuda`` or ``cpu``.
        rehearse: whether sizes are tiny.
        folder: where rows are written.
        scratch: for what parts compute on.
    """

    device: str
    rehearse: bool
    folder: str
    scratch: str

    @property
    def where(self) -> torch.device:
        """The device."""
        return torch.device(self.device)

    @property
    def size(self) -> str:
        """The size of the published network, in a rehearsal a tiny one's."""
        return "tiny" if self.rehearse else "published"

    @property
    def batches(self) -> tuple[int, ...]:
        """Sizes of batches."""
        return BATCHES[:2] if self.rehearse else BATCHES

    @property
    def image_size(self) -> int:
        """Width and height of slices."""
        return 32 if self.rehearse else 192

    @property
    def slices(self) -> int:
        """Slices of a subject."""
        return 6 if self.rehearse else 155


def write_row(setting: Setting, part: str, what: str, unit: str = "", **content: Any) -> None:
    """Add a row to the results at once: a part that is stopped keeps what it has measured.

    Args:
        setting: says where.
        part: the part's name.
        what: what was measured.
        unit: of the numbers.
        **content: ``by_batch`` (numbers by size of the batch), ``value``, ``target`` (text), ``reached``.
    """
    with Path(setting.folder, "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"part": part, "what": what, "unit": unit, **content}) + "\n")


def milliseconds(run: Callable[[], Any], device: torch.device, budget: float = 0.4, warm_up: int = WARM_UP) -> float:
    """Return the median milliseconds of a computation: on a GPU between events of its stream, after a warm-up.

    Args:
        run: the computation.
        device: where it runs.
        budget: seconds for all repetitions; at least three are made.
        warm_up: runs before these.
    """
    for _ in range(warm_up):
        run()
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < 3 or time.perf_counter() - began < budget:
        if device.type == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            run()
            end.record()
            end.synchronize()
            taken.append(start.elapsed_time(end))
        else:
            before = time.perf_counter()
            run()
            taken.append(1e3 * (time.perf_counter() - before))
    return statistics.median(taken)


def machine(setting: Setting) -> None:
    """Measure what the card can do: matrix products, and copies within its memory."""
    from machine import describe_machine, matrix_products

    facts = describe_machine(setting.where)
    name = f"{facts.get('gpu', facts['cpu'])}, torch {facts['torch']}, {facts['cores']} cores"
    write_row(setting, "machine", name)
    for dtype, product in matrix_products(setting.where, quick=setting.rehearse).items():
        rate = 2 * product.gmacs / milliseconds(product, setting.where)
        write_row(
            setting, "machine", f"matrix product, {'TF32' if dtype == 'float32' else dtype}", "TFLOP/s", value=rate
        )
    source = torch.rand(2**22 if setting.rehearse else 2**29, device=setting.where)
    goal = torch.empty_like(source)
    rate = 2 * source.nbytes / milliseconds(lambda: goal.copy_(source), setting.where) / 1e9
    write_row(setting, "machine", "copy in device memory, read and written", "TB/s", value=rate)


def write_kernels(setting: Setting) -> None:
    """Write the kernels that a training step spends most time in."""
    from torch.profiler import ProfilerActivity, profile

    from gpu_training import product_training

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if setting.device == "cuda" else [])
    steps = product_training(setting, "published", "bfloat16", 2 if setting.rehearse else 8, steps=6)
    with profile(activities=activities) as profiler:
        steps()
    events = profiler.key_averages()
    attribute = "self_device_time_total" if setting.device == "cuda" else "self_cpu_time_total"
    on_device = [event for event in events if setting.device != "cuda" or "CUDA" in str(event.device_type)]
    on_device.sort(key=lambda event: getattr(event, attribute), reverse=True)
    whole = sum(getattr(event, attribute) for event in on_device)
    launches = sum(event.count for event in on_device)
    write_row(
        setting, "kernels", "kernels of a step (published network, batch 8, bfloat16)", "count", value=launches / 6
    )
    for event in on_device[:12]:
        share = 100 * getattr(event, attribute) / max(whole, 1e-9)
        write_row(setting, "kernels", f"{event.key[:90]} x {event.count / 6:.0f}", "%", value=share)


def main(part: str, setting: Setting) -> None:
    """Run one part."""
    import gpu_training
    import gpu_volumes
    from gpu_translation import translation

    parts: dict[str, Callable[[Setting], None]] = {
        "machine": machine,
        "translation": translation,
        "steps": gpu_training.steps,
        "missing": gpu_volumes.missing,
        "analysis": gpu_volumes.analysis,
        "cohort": gpu_training.cohort,
        "training": gpu_training.training,
        "kernels": write_kernels,
    }
    parts[part](setting)


if __name__ == "__main__":
    main(sys.argv[1], Setting(**json.loads(sys.argv[2])))
