# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""All that can be known on a GPU within minutes: tests, then benchmarks, one table: ``python benchmarks/on_gpu.py``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gpu_parts
from machine import checked_device
from options import check_count, chosen
from report import command_line
from seq2seq_mri.files import check_writable_directory

__all__ = ["on_gpu", "table"]

REPOSITORY = Path(__file__).resolve().parents[1]
TESTS = ("tests/gpu", "tests/bundles/test_on_gpu.py")
#: Most seconds of each part, starting Python included; what it has measured until then is kept.
SECONDS = {
    "tests": 150,
    "machine": 20,
    "translation": 40,
    "steps": 110,
    "missing": 45,
    "analysis": 40,
    "training": 60,
    "kernels": 15,
}
COLUMNS = ("part", "what", "unit", "1", "8", "16", "32", "64", "value", "target", "")


def on_gpu(
    output_dir: str = "output/on_gpu",
    device: str = "cuda",
    skip: str | Sequence[str] = (),
    only: str | Sequence[str] | None = None,
    minutes: float = 8.0,
    rehearse: bool = False,
    processes: int | None = None,
) -> None:
    """Run ``pytest -m gpu`` and every benchmark of the GPU in at most eight minutes, and print one table.

    Nothing is fetched from a network. Where packages are missing, take them along as wheels and install them first:

        python3 -m pip install --no-index --no-deps --target site wheels/*.whl
        PYTHONPATH=site:common python3 benchmarks/on_gpu.py

    Each part has a process and a time of its own, so that one which fails or takes too long costs no other. Written as
    they are measured: ``rows.jsonl``; when a part ends, ``table.txt``; and what all of them printed, ``log.txt``.

    Args:
        output_dir: where the results are written; an earlier run's are replaced.
        device: cuda or cpu.
        skip: parts that are left out, separated by commas: tests, machine (its two ceilings), translation (one slice,
            plain network and this one), steps (one training step, both), missing (one missing sequence of 155 slices
            through the inference bundle), analysis (all pairs and M_d of a subject, file to file), training (of
            seq2seq_brats as shipped, on a simulated cohort), kernels (a training step's kernels).
        only: the parts that are run; by default all.
        minutes: after which no further part begins, and none goes on.
        rehearse: tiny sizes, to try the program on a CPU.
        processes: of pytest-xdist; by default one for each core but two, at most 12.
    """
    began = time.monotonic()
    processes = max(1, min(12, len(os.sched_getaffinity(0)) - 2)) if processes is None else processes
    check_count(processes=processes)
    parts = list(SECONDS) if only is None else chosen(only, list(SECONDS), "only")
    left_out = chosen(skip, list(SECONDS), "skip") if skip else []
    checked_device(device)
    folder = check_writable_directory(output_dir).resolve()
    for name in ("rows.jsonl", "table.txt", "log.txt"):
        (folder / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        setting = gpu_parts.Setting(device, rehearse, str(folder), scratch)
        _run_parts([part for part in parts if part not in left_out], setting, began + 60 * minutes, processes)
    print((folder / "table.txt").read_text(encoding="utf-8"))
    print(f"{time.monotonic() - began:.0f} s; everything that was printed is in {folder / 'log.txt'}")


def _run_parts(parts: Sequence[str], setting: gpu_parts.Setting, end: float, processes: int) -> None:
    """Run the parts one after the other until the end."""
    folder = Path(setting.folder)
    # What volumes and trainings are measured on is simulated on cores that the tests leave idle.
    is_needed = not {"missing", "analysis", "training"}.isdisjoint(parts)
    cohort = _start(["cohort", json.dumps(vars(setting))], folder) if is_needed else None
    for part in parts:
        left = end - time.monotonic()
        if left < 10:
            gpu_parts.write_row(setting, part, "not begun: no time was left")
            continue
        if part != "tests" and cohort is not None:
            cohort.wait()  # nothing is timed beside it
        _run_part(part, setting, min(left, SECONDS[part] * (10 if setting.rehearse else 1)), processes)
        (folder / "table.txt").write_text(table(_rows(folder)), encoding="utf-8")
    if cohort is not None:
        cohort.wait()


def _run_part(part: str, setting: gpu_parts.Setting, seconds: float, processes: int) -> None:
    """Run one part in a process of its own, and note how it ended."""
    print(f"{part} …", flush=True)
    began = time.monotonic()
    folder = Path(setting.folder)
    if part == "tests":
        # What other versions of libraries warn of is no failure here.
        options = ["-q", "--tb=short", "-W", "default", "-p", "no:cacheprovider"]
        arguments = ["-m", "pytest", "-m", "gpu", *TESTS, *options, "-n"]
        running = _start([*arguments, str(processes)], folder, module=True, device=setting.device)
    else:
        running = _start([part, json.dumps(vars(setting))], folder)
    try:
        code: Any = running.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)  # with the workers that it has started
        running.wait()
        code = f"stopped after {seconds:.0f} s"
    taken = round(time.monotonic() - began, 1)
    text = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    if part == "tests":
        ended = [line.strip("= ") for line in text.splitlines() if " passed" in line or " failed" in line]
        result = code if isinstance(code, str) else ended[-1] if ended else "no result"
        gpu_parts.write_row(setting, part, result, "s", value=taken, reached=code == 0)
        for line in text.splitlines():
            if line.startswith(("FAILED ", "ERROR ")):
                gpu_parts.write_row(setting, part, line[:150], reached=False)
    elif code != 0:
        ended = [line for line in text.splitlines() if line and not line.startswith(" ")]
        reason = code if isinstance(code, str) else f"failed: {ended[-1][:120] if ended else code}"
        gpu_parts.write_row(setting, part, reason, "s", value=taken, reached=False)
    else:
        gpu_parts.write_row(setting, part, "the whole part", "s", value=taken)


def _start(arguments: Sequence[str], folder: Path, module: bool = False, device: str = "cuda") -> subprocess.Popen:
    program = [] if module else [str(Path(__file__).with_name("gpu_parts.py"))]
    path = os.pathsep.join([str(REPOSITORY / "common"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "MPLBACKEND": "Agg", "PYTHONUNBUFFERED": "1"}
    environment["SEQ2SEQ_MRI_GPU"] = device
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=REPOSITORY,
            env=environment,
            stdout=log,
            stderr=log,
            preexec_fn=os.setpgrp,
        )


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "rows.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text: a column for each batch size, one for a single value, and whether a target is met."""
    cells = [COLUMNS]
    for row in rows:
        batches = {str(batch): value for batch, value in row.get("by_batch", {}).items()}
        told = {True: "ok", False: "NOT REACHED" if row.get("target") else "FAILED", None: ""}[row.get("reached")]
        cells.append(
            (
                row["part"],
                row["what"],
                row.get("unit") or "",
                *(_number(batches.get(name)) for name in COLUMNS[3:8]),
                _number(row.get("value")),
                row.get("target") or "",
                told,
            )
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    command_line(on_gpu)
