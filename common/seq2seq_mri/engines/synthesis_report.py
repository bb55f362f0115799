# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a synthesis leaves on disk beside the images: a table of them, and a picture of each subject."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ignite.engine import Events

from seq2seq_mri.engines.distributed import gather_rows, rank
from seq2seq_mri.files import atomic_path, check_writable_directory
from seq2seq_mri.sequences import channel_slices, check_sequences
from seq2seq_mri.visualize import save_figure, synthesis_panel

__all__ = ["SynthesisReport"]

logger = logging.getLogger(__name__)


class SynthesisReport:
    """Writes ``synthesis.csv`` (subject, target, sources, file) and a picture per subject.

    It is both the ``report`` of a :class:`~seq2seq_mri.engines.evaluator.SynthesisEvaluator` and one of its handlers.

    Args:
        output_dir: where the images are written.
        sequences: the sequence table.
        figures: whether to draw ``<subject>/<subject>_<target>.png``: sources, synthesised image, disagreement.

    Raises:
        ValueError: when the directory cannot be written.
    """

    def __init__(self, output_dir: str | Path, sequences: Mapping[str, int], figures: bool = True) -> None:
        self.output_dir = check_writable_directory(output_dir)
        self.sequences = check_sequences(sequences)
        self.figures = figures
        self.rows: list[dict[str, str]] = []

    def attach(self, engine: Any) -> None:
        """List each subject once its images are saved; write the table when all are done."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._list)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def draw(self, sample: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Draw a subject's synthesised images while its volumes are still in the network's orientation (RAS)."""
        if not self.figures:
            return
        subject = str(sample["subject"])
        image = sample["image"].as_tensor().cpu()
        measured = channel_slices(self.sequences)
        for name, channels in channel_slices({name: self.sequences[name] for name in output["targets"]}).items():
            figure = synthesis_panel(
                {source: image[measured[source]] for source in output["sources"] if source != name},
                name,
                output["pred"][channels],
                disagreement=output["disagreement"][channels],
                truth=image[measured[name]] if name in output["sources"] else None,
                subject=subject,
                spacing=[float(size) for size in sample["image"].pixdim],
            )
            save_figure(figure, self.output_dir / subject / f"{subject}_{name}.png", overwrite=True)

    def _list(self, engine: Any) -> None:
        output = engine.state.output
        if not output:
            return
        subject = str(engine.state.batch["subject"])
        self.rows += [
            {
                "subject": subject,
                "target": target,
                "sources": " ".join(output["sources"]),
                "file": f"{subject}/{subject}_{target}.nii.gz",
            }
            for target in output["targets"]
        ]

    def write(self, engine: Any = None) -> None:
        """Write the table of all processes; process 0 only."""
        rows = gather_rows(self.rows)
        if rank() != 0:
            return
        table = pd.DataFrame(rows, columns=["subject", "target", "sources", "file"])
        with atomic_path(self.output_dir / "synthesis.csv", overwrite=True) as temporary:
            table.sort_values(["subject", "target"]).to_csv(temporary, index=False)
        logger.info("%d synthesised images of %d subjects are in %s.", len(rows), table.subject.nunique(), self.output_dir)
