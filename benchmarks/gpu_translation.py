# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One translation of a slice on a GPU, by size of the batch: the plain network and this project's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gpu_parts import Setting, milliseconds, write_row
from naive_generator import naive_copy
from networks import build_generator
from seq2seq_mri.training.trainer import autocast
from seq2seq_studies.comparison.resources import count_gmacs

__all__ = ["translation"]

DTYPES = {"TF32": torch.float32, "bfloat16": torch.bfloat16}
TARGET = 6.0


@torch.inference_mode()
def translation(setting: Setting) -> None:
    """Time a translation per slice, in bfloat16 and TF32; the target is set in bfloat16."""
    generator = build_generator(setting.size).to(setting.where)
    code = torch.eye(len(generator.sequences))[1:2]
    best: dict[tuple[str, str], float] = {}
    for dtype in reversed(DTYPES):
        with _arithmetic(dtype):
            for name, make in _variants(generator, code, setting.where, dtype).items():
                per_slice: dict[int, float] = {}
                for batch in setting.batches:
                    image = torch.rand(batch, 1, 3, setting.image_size, setting.image_size, device=setting.where)
                    try:
                        per_slice[batch] = milliseconds(make(image), setting.where, 0.25) / batch
                    except torch.OutOfMemoryError:
                        break
                    except Exception as error:
                        write_row(setting, "translation", f"{name}, {dtype}: {error}"[:120], reached=False)
                        break
                if per_slice:
                    best[name, dtype] = min(per_slice.values())
                    content: dict[str, Any] = {"by_batch": per_slice, "value": best[name, dtype]}
                    write_row(setting, "translation", f"{name}, {dtype}", "ms/slice", **content)
        ours = [value for (name, type_), value in best.items() if name != "plain" and type_ == dtype]
        if ("plain", dtype) in best and ours:
            ratio = best["plain", dtype] / min(ours)
            judged = {"target": f">= {TARGET:g}", "reached": ratio >= TARGET} if dtype == "bfloat16" else {}
            what = f"plain at its best batch / ours at its best, {dtype}"
            write_row(setting, "translation", what, "x", value=ratio, **judged)
            rate = 2 * _gmacs(setting, generator, code) / min(ours)
            write_row(setting, "translation", f"arithmetic of ours at its best, {dtype}", "TFLOP/s", value=rate)


def _gmacs(setting: Setting, generator: Any, code: torch.Tensor) -> float:
    """Return the 10⁹ multiply-adds of a translation of one slice."""
    image = torch.rand(1, 1, 3, setting.image_size, setting.image_size, device=setting.where)
    specialised = generator.specialise(["t1gd"])
    return count_gmacs(lambda: specialised(image, code))


@contextmanager
def _arithmetic(dtype: str) -> Iterator[None]:
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = dtype == "TF32"
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def _variants(
    generator: Any, code: torch.Tensor, device: torch.device, dtype: str
) -> dict[str, Callable[[torch.Tensor], Callable[[], torch.Tensor]]]:
    """Return for each variant what makes a computation of an image ``(B, 1, 3, H, W)``."""
    kind = DTYPES[dtype]
    plain = naive_copy(generator).to(kind)
    plain_code = code[0].to(device, kind)
    specialised = generator.specialise(["t1gd"]).to(kind)
    on_device = code.to(device)

    def plainly(image: torch.Tensor) -> Callable[[], torch.Tensor]:
        image = image.to(kind)
        return lambda: plain(image, plain_code)

    def eager(image: torch.Tensor) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            with autocast(device, "bfloat16" if dtype == "bfloat16" else None):
                return generator(image, on_device)

        return run

    def specialise(image: torch.Tensor) -> Callable[[], torch.Tensor]:
        image = image.to(kind)
        # A code on the CPU is read without waiting for the GPU.
        return lambda: specialised(image, code)

    def graph(image: torch.Tensor) -> Callable[[], torch.Tensor]:
        run = specialise(image)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            output = run()

        def replay() -> torch.Tensor:
            captured.replay()
            return output

        return replay

    variants: dict[str, Callable] = {
        "plain": plainly,
        "generator": eager,
        "specialised": specialise,
    }
    return variants | ({"specialised, CUDA graph": graph} if device.type == "cuda" else {})
