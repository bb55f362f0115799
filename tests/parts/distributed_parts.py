# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What each of two processes does in a test; importable, so that a new process finds it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from engine_parts import SEQUENCES, make_sample, run_bundle_here, translation_evaluator

from seq2seq_mri.inference.evaluation_report import EvaluationReport
from seq2seq_mri.training import distributed
from seq2seq_mri.training.handlers import SubjectAverage


def run(rank: int, folder: Path, bundles: Sequence[tuple[str, Sequence[Path], Mapping[str, Any]]]) -> None:
    """Join a group of two processes as ``torchrun`` would have it, write down what comes out, then run bundles."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": ""}
    _join(rank, folder / "rendezvous")
    assert (distributed.rank(), distributed.world_size()) == (rank, 2)
    results = {
        "gradients": _gradients(rank),
        "broadcast": _broadcast(rank),
        "rows": distributed.gather_rows([{"subject": f"p{rank}-{k}", "value": k / 3} for k in range(rank + 1)]),
        "val_psnr": _evaluate_fewer_subjects_than_processes(folder),
    }
    torch.save(results, folder / f"rank{rank}.pt")
    distributed.finalize_distributed()
    assert distributed.world_size() == 1
    for number, bundle in enumerate(bundles):
        _join(rank, folder / f"rendezvous_{number}")
        run_bundle_here(*bundle)
        assert distributed.world_size() == 1


def _join(rank: int, meeting_place: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting_place}", rank=rank, world_size=2)
    distributed.initialize_distributed()  # joined already: nothing to do


def _gradients(rank: int) -> list[torch.Tensor | None]:
    """One gradient that both have, one that only process 1 has, one that none has, one that is not trained."""
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (4,), (1,), (5,))]
    parameters[3].requires_grad_(False)
    parameters[0].grad = torch.full((2, 3), rank + 1.0)
    if rank == 1:
        parameters[1].grad = torch.arange(4.0)
    distributed.average_gradients(parameters)
    return [parameter.grad for parameter in parameters]


def _broadcast(rank: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(rank)
    module = torch.nn.BatchNorm1d(3)
    torch.nn.init.normal_(module.weight)
    torch.nn.init.normal_(module.running_mean)
    distributed.broadcast_parameters(module)
    return module.state_dict()


def _evaluate_fewer_subjects_than_processes(folder: Path) -> float:
    samples = distributed.own_share([make_sample("p1", list(SEQUENCES))])
    report = EvaluationReport(folder / "evaluation", SEQUENCES, figure_subjects=0)
    evaluator = translation_evaluator(
        samples, report=report, val_handlers=[report], key_val_metric={"val_psnr": SubjectAverage("psnr_foreground")}
    )
    evaluator.run()
    return evaluator.state.metrics["val_psnr"]
