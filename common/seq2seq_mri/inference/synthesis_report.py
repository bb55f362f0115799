# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Handler that writes the table and the pictures of a synthesis, and checks which images exist already."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from ignite.engine import Engine, Events

from seq2seq_mri.evaluation.records import read_records, write_records
from seq2seq_mri.files import unlock_directory
from seq2seq_mri.inference.evaluator import lesion_mask, synthesised_sequences
from seq2seq_mri.inference.subject_evaluator import SubjectEvaluator
from seq2seq_mri.inference.synthesis_figure import synthesis_panel
from seq2seq_mri.io.load import subject_files
from seq2seq_mri.io.save import sequence_file
from seq2seq_mri.plots.frames import frame_axes
from seq2seq_mri.plots.slices import SliceView, informative_slice
from seq2seq_mri.plots.style import save_figure
from seq2seq_mri.sequences import channel_slices, check_sequences
from seq2seq_mri.training.distributed import claim_output, gather_rows, own_share, rank

__all__ = ["SynthesisReport"]

logger = logging.getLogger(__name__)

_COLUMNS = ["subject", "target", "sources", "file"]
_SUFFIXES = ("", "_sd")  # of the files that each synthesised sequence has
_LISTED_FILES = 20


class SynthesisReport:
    """Writes ``synthesis.csv`` (subject, target, sources, file) and a picture per subject.

    It is both the ``report`` of a :class:`SynthesisEvaluator` and one of its handlers,
    and says beforehand whose images are there already. A table of an earlier synthesis is kept and added to: it lists
    what the directory holds.

    Args:
        output_dir: where the images are written.
        sequences: the sequence table.
        figures: whether to draw ``<subject>/<subject>_<target>.png``: sources, synthesised image, deviation.
        existing: what is done with images that exist, as in
            :class:`SaveImageSequencesd`; only with ``"overwrite"`` are their pictures and
            their lines in the table replaced too.
        times: for dynamic sequences the time of each timepoint in seconds from the first; they name timepoints.
        b_values: for diffusion sequences the b-value of each timepoint in s/mm², likewise.
        computed: sequences that loading computes where they are not given, each with the sequences from which it does,
            as :class:`AddWashMapsd` does: such a one is not missing.

    Raises:
        ValueError: when the directory cannot be written, or holds a ``synthesis.csv`` of another form, or ``times`` or
            ``b_values`` do not fit the sequence table.
    """

    def __init__(
        self,
        output_dir: str | Path,
        sequences: Mapping[str, int],
        figures: bool = True,
        existing: str = "error",
        times: Mapping[str, Sequence[float]] | None = None,
        b_values: Mapping[str, Sequence[float]] | None = None,
        computed: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.output_dir = claim_output(output_dir)
        self.sequences = check_sequences(sequences)
        self.computed = dict(computed or {})
        self.figures = figures
        self.existing = existing
        self.overwrite = existing == "overwrite"
        self.frames = frame_axes(self.sequences, times, b_values)
        self.table = self.output_dir / "synthesis.csv"
        self.rows: list[dict[str, str]] = []
        self._earlier = read_records(self.table, _COLUMNS, []).to_dict("records") if self.table.exists() else []

    def subjects_to_synthesise(
        self, subjects: Sequence[Mapping[str, Any]], targets: str | Sequence[str] = "missing"
    ) -> list[Mapping[str, Any]]:
        """Return the subjects of this process's share whose images are not there yet.

        With ``existing`` ``"skip"`` a subject all of whose files exist is left out, and listed in the table as if it
        had been done now: a job that was stopped has written no table.

        Args:
            subjects: of all processes, ``[{"subject": "p1", "t1": "path", ...}, ...]``.
            targets: as in :class:`SynthesisEvaluator`.

        Raises:
            FileExistsError: when ``existing`` is ``"error"`` and files of any subject exist; it lists them.
        """
        if self.existing == "error":
            planned = [row for subject in subjects for row in self._planned(subject, targets)]
            found = [file for file in self._files(planned) if file.exists()]
            if found:
                lines = [f"  {file} exists" for file in found[:_LISTED_FILES]]
                lines += [f"  and {len(found) - _LISTED_FILES} more"] if len(found) > _LISTED_FILES else []
                raise FileExistsError(
                    "Images that were to be synthesised are there already; give another --output_dir, or --existing "
                    "skip or overwrite:\n" + "\n".join(lines)
                )
            gather_rows([])  # no process writes before all have looked
        share = own_share(subjects)
        if self.existing != "skip":
            return share
        left = []
        for subject in share:
            planned = self._planned(subject, targets)
            if planned and all(file.exists() for file in self._files(planned)):
                self.rows += planned
            else:
                left.append(subject)
        if len(left) < len(share):
            logger.info("%d subjects have their images already, %d are left.", len(share) - len(left), len(left))
        return left

    def attach(self, engine: Engine) -> None:
        """Write the table, without the subjects whose images could not be saved, when all are done."""
        engine.add_event_handler(Events.COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED, unlock_directory, self.output_dir)

    def add(self, sample: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """List a subject, and draw its images while its volumes are still in the network's orientation (RAS).

        The slice goes through the lesion where the sample has a mask of it.
        """
        subject = str(sample["subject"])
        self.rows += _rows(subject, output["targets"], output["sources"])
        if not self.figures:
            return
        image = sample["image"].as_tensor().cpu()
        measured = channel_slices(self.sequences)
        lesion = lesion_mask(sample)
        index = None if lesion is None else informative_slice(lesion, lesion)
        view = SliceView(subject, index, [float(size) for size in sample["image"].pixdim])
        for name, channels in channel_slices({name: self.sequences[name] for name in output["targets"]}).items():
            picture = self.output_dir / subject / f"{subject}_{name}.png"
            if picture.exists() and not self.overwrite:
                continue  # the image that it shows is kept as well
            figure = synthesis_panel(
                {source: image[measured[source]] for source in output["sources"] if source != name},
                name,
                output["pred"][channels],
                deviation=output["deviation"][channels],
                truth=image[measured[name]] if name in output["sources"] else None,
                view=view,
                frames=self.frames,
            )
            save_figure(figure, picture, overwrite=True)

    def write(self, engine: SubjectEvaluator | None = None) -> None:
        """Write the table of all processes; process 0 only."""
        # Postprocessing may go on while the next subject is computed; what it failed for is known only now.
        failed = {subject for subject, _ in engine.failures} if engine is not None else set()
        self.rows = [row for row in self.rows if row["subject"] not in failed]
        rows = gather_rows(self.rows)
        if rank() != 0:
            return
        listed = [*rows, *self._earlier] if self.overwrite else [*self._earlier, *rows]
        table = pd.DataFrame(listed, columns=_COLUMNS).drop_duplicates(["subject", "target"])
        write_records(self.table, table.sort_values(["subject", "target"]), overwrite=True)
        subjects = len({row["subject"] for row in rows})
        logger.info("%d synthesised images of %d subjects are in %s.", len(rows), subjects, self.output_dir)

    def _planned(self, subject: Mapping[str, Any], targets: str | Sequence[str]) -> list[dict[str, str]]:
        """Return the rows of what will be made for a subject; none where only loading can tell, or will fail."""
        name = str(subject.get("subject"))
        try:
            given = set(subject_files(subject, self.sequences, name))
        except ValueError:
            return []
        held = given | {sequence for sequence, origins in self.computed.items() if given.intersection(origins)}
        sources = [sequence for sequence in self.sequences if sequence in held]
        return _rows(name, synthesised_sequences(self.sequences, sources, targets), sources) if sources else []

    def _files(self, planned: Sequence[Mapping[str, str]]) -> list[Path]:
        return [
            self.output_dir / row["subject"] / sequence_file(row["subject"], row["target"], suffix)
            for row in planned
            for suffix in _SUFFIXES
        ]


def _rows(subject: str, targets: Sequence[str], sources: Sequence[str]) -> list[dict[str, str]]:
    return [
        {
            "subject": subject,
            "target": target,
            "sources": " ".join(sources),
            "file": f"{subject}/{sequence_file(subject, target)}",
        }
        for target in targets
    ]
