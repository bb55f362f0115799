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
from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.metrics.records import read_records, write_records
from seq2seq_mri.sequences import channel_slices, check_sequences
from seq2seq_mri.visualize import save_figure, synthesis_panel

__all__ = ["SynthesisReport"]

logger = logging.getLogger(__name__)

_COLUMNS = ["subject", "target", "sources", "file"]


class SynthesisReport:
    """Writes ``synthesis.csv`` (subject, target, sources, file) and a picture per subject.

    It is both the ``report`` of a :class:`~seq2seq_mri.engines.evaluator.SynthesisEvaluator` and one of its handlers.
    A table that is there already is kept and added to: it lists what the directory holds.

    Args:
        output_dir: where the images are written.
        sequences: the sequence table.
        figures: whether to draw ``<subject>/<subject>_<target>.png``: sources, synthesised image, disagreement.
        existing: what is done with images that exist, as in :class:`~seq2seq_mri.transforms.save.SaveSequencesd`; only
            with ``"overwrite"`` are their pictures and their lines in the table replaced too.

    Raises:
        ValueError: when the directory cannot be written, or holds a ``synthesis.csv`` of another form.
    """

    def __init__(
        self, output_dir: str | Path, sequences: Mapping[str, int], figures: bool = True, existing: str = "error"
    ) -> None:
        self.output_dir = check_writable_directory(output_dir)
        self.sequences = check_sequences(sequences)
        self.figures = figures
        self.overwrite = existing == "overwrite"
        self.table = self.output_dir / "synthesis.csv"
        self.rows: list[dict[str, str]] = []
        self._earlier = read_records(self.table, _COLUMNS, []).to_dict("records") if self.table.exists() else []

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
            picture = self.output_dir / subject / f"{subject}_{name}.png"
            if picture.exists() and not self.overwrite:
                continue  # the image that it shows is kept as well
            figure = synthesis_panel(
                {source: image[measured[source]] for source in output["sources"] if source != name},
                name,
                output["pred"][channels],
                disagreement=output["disagreement"][channels],
                truth=image[measured[name]] if name in output["sources"] else None,
                subject=subject,
                spacing=[float(size) for size in sample["image"].pixdim],
            )
            save_figure(figure, picture, overwrite=True)

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
        listed = [*rows, *self._earlier] if self.overwrite else [*self._earlier, *rows]
        table = pd.DataFrame(listed, columns=_COLUMNS).drop_duplicates(["subject", "target"])
        write_records(self.table, table.sort_values(["subject", "target"]), overwrite=True)
        subjects = len({row["subject"] for row in rows})
        logger.info("%d synthesised images of %d subjects are in %s.", len(rows), subjects, self.output_dir)
