# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How large the code is, and how much of it a reader has to open: ``python -m tools.count``.

Files to open are those of the package that define what a call runs through, found by running it: one training step, one
inference, and the ranking of the sequences by C_t and C_d. Run from the root of a checkout.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd
import torch

from mri_phantom.brain import SimulateBrain
from seq2seq_mri.evaluation.contribution.contribution import adjacency_matrix, contribution
from seq2seq_mri.evaluation.contribution.contribution_bootstrap import bootstrap_contribution
from seq2seq_mri.evaluation.contribution.contribution_table import cohort_contribution
from seq2seq_mri.inference.generator_bundle import load_bundle
from seq2seq_mri.interface import synthesise
from seq2seq_mri.io.datalists.datalist import load_datalist
from seq2seq_mri.losses.generator_loss import Seq2SeqLoss
from seq2seq_mri.networks.discriminator import SequenceDiscriminators
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.training.trainer import Seq2SeqTrainer
from seq2seq_mri.training.translation_step import TranslationStep

__all__ = ["LIMITS", "count", "files_run_through"]

COMMON = Path("common")
CORE = COMMON / "seq2seq_mri"
#: What is to be reached at the end of the division into core, studies and phantom.
LIMITS = {
    "lines of the core": 15_000,
    "lines of common": 23_000,
    "lines of tests": 20_000,
    "lines of the bundles' configs": 2_700,
    "files for a training step": 10,
    "files for an inference": 15,
    "files for the ranking": 6,
    "file names that exist twice": 0,
    "arguments of the widest public function": 8,
    "Any in signatures": 40,
}


def python_files(*folders: str | Path) -> list[Path]:
    """Return the Python files below ``folders``."""
    return sorted(path for folder in folders for path in Path(folder).rglob("*.py"))


def count_lines(paths: list[Path]) -> int:
    """Return the number of lines, blank ones and comments included."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def functions(paths: list[Path]) -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield all functions and methods, with their files."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield path, node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """Return a function's parameters, without ``self`` and ``cls``."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return [argument for argument in named if argument.arg not in ("self", "cls")]


def widest_function(paths: list[Path]) -> tuple[int, str]:
    """Return the most arguments of a public function or method, and its name.

    Constructors do not count: what a configuration builds has a name for each of its settings.
    """
    public = [(path, node) for path, node in functions(paths) if not node.name.startswith("_")]
    path, node = max(public, key=lambda found: len(parameters(found[1])))
    return len(parameters(node)), f"{path.stem}.{node.name}"


def count_any(paths: list[Path]) -> int:
    """Return how many parameters and results are annotated as ``Any``."""
    annotations = [
        annotation
        for _, node in functions(paths)
        for annotation in [node.returns, *(argument.annotation for argument in parameters(node))]
    ]
    return sum(isinstance(annotation, ast.Name) and annotation.id == "Any" for annotation in annotations)


def files_run_through(call: Callable[[], object]) -> list[str]:
    """Return the files of ``common`` that have a function which runs while ``call`` does, also in threads."""
    root = str(COMMON.resolve())
    found: set[str] = set()

    def record(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(root):
            found.add(Path(frame.f_code.co_filename).relative_to(root).as_posix())

    threading.setprofile(record)
    sys.setprofile(record)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return sorted(found)


def training_step() -> list[str]:
    """Return the files that one step of the trainer runs through, with all terms of the loss."""
    torch.manual_seed(0)
    sequences = {"t1": 1, "dce": 3}
    generator = Seq2SeqGenerator(2, sequences, channels=(4, 4, 4), num_res_blocks=1)
    discriminators = SequenceDiscriminators(2, sequences, in_channels=3, channels=4, num_layers=1)
    step = TranslationStep(
        generator,
        Seq2SeqLoss(lambda_perceptual=0.0, lambda_adversarial=1.0, lambda_cycle=1.0),
        discriminators=discriminators,
    )
    trainer = Seq2SeqTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[{"image": torch.rand(2, 4, 16, 16, 3), "available": torch.ones(2, 2, dtype=torch.bool)}],
        step=step,
        optimizer=torch.optim.Adam(generator.parameters()),
        discriminator_optimizer=torch.optim.Adam(discriminators.parameters()),
    )
    return files_run_through(trainer.run)


def inference(bundle: Path, folder: Path) -> list[str]:
    """Return the files that a synthesis runs through."""
    SimulateBrain(folder, splits=(0, 0, 1), shape=(32, 32, 32), spacing=1.0, missing=0)()
    generator = load_bundle(bundle, options={"slice_size": [32, 32]})
    (subject,) = load_datalist(folder / "datalist.json", "testing")
    with contextlib.redirect_stderr(io.StringIO()):
        return files_run_through(lambda: synthesise(generator, subject, "t2"))


def ranking() -> list[str]:
    """Return the files that a ranking runs through, once image quality is measured."""
    sequences = {"t1": 1, "t1gd": 1, "t2": 1}
    pairs = pd.DataFrame(itertools.permutations(sequences, 2), columns=["source", "target"])
    rows = pd.DataFrame({"subject": ["p1", "p2"]}).merge(pairs, how="cross")
    for name in ("psnr_foreground", "ssim_foreground", "lpips"):
        rows[name] = np.random.default_rng(0).random(len(rows))
    return files_run_through(lambda: rank_sequences(rows, sequences))


def rank_sequences(rows: pd.DataFrame, sequences: dict[str, int]) -> None:
    """Compute A, C_t, C_d, their intervals and the frequencies of ranks from a table of image quality."""
    contribution(adjacency_matrix(rows, sequences))
    cohort_contribution("cohort", bootstrap_contribution(rows, sequences, samples=3))


def count() -> dict[str, tuple[int, str]]:
    """Return what is counted: its number, and what it consists of."""
    core, common = python_files(CORE), python_files(COMMON)
    names = Counter(path.name for path in common if path.name not in ("__init__.py", "__main__.py"))
    twice = sorted(name for name, number in names.items() if number > 1)
    configs = sorted(Path("bundles").glob("*/configs/*.json"))
    training = training_step()
    with tempfile.TemporaryDirectory() as folder:
        synthesis = inference(Path("bundles/seq2seq_brats"), Path(folder))
    ranked = ranking()
    return {
        "lines of the core": (count_lines(core), f"{len(core)} files"),
        "lines of common": (count_lines(common), f"{len(common)} files"),
        "lines of tests": (count_lines(python_files("tests")), f"{len(python_files('tests'))} files"),
        "lines of the bundles' configs": (count_lines(configs), f"{len(configs)} files"),
        "files for a training step": (len(training), ", ".join(training)),
        "files for an inference": (len(synthesis), ", ".join(synthesis)),
        "files for the ranking": (len(ranked), ", ".join(ranked)),
        "file names that exist twice": (len(twice), ", ".join(twice)),
        "arguments of the widest public function": widest_function(common),
        "Any in signatures": (count_any(common), ""),
    }


def main() -> None:
    """Print what is counted beside its limit."""
    rows = [[name, number, LIMITS[name], of] for name, (number, of) in count().items()]
    table = pd.DataFrame(rows, columns=["what", "is", "at most", "of"])
    print(table.drop(columns="of").to_string(index=False))
    for row in rows:
        if row[3]:
            print(f"{row[0]}: {row[3]}")


if __name__ == "__main__":
    main()
