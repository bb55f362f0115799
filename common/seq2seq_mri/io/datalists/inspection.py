# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a subject's images are like: grids, orientations, and whatever would stop them from being loaded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seq2seq_mri.io.datalists.image_checks import Grid, first_line, grid_difference, inspect_series
from seq2seq_mri.io.datalists.layouts import patient_of
from seq2seq_mri.io.datalists.scan import FoundSubject, Series
from seq2seq_mri.io.read_nifti import read_volume

__all__ = ["SubjectReport", "datalist_table", "inspect_subject"]


@dataclass
class SubjectReport:
    """What was found about one subject.

    Attributes:
        name: the subject.
        files: its usable image of each sequence.
        patient: whose examination it is.
        unique: its mask of what each sequence alone shows, if any.
        lesion: its mask of the lesion, if any.
        grids: of each sequence whose header could be read.
        problems: what makes the subject unusable; each names the files.
        notes: what a user may want to know, but is legal.
    """

    name: str
    patient: str
    files: dict[str, Series] = field(default_factory=dict)
    unique: dict[str, Path] = field(default_factory=dict)
    lesion: Path | None = None
    grids: dict[str, Grid] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def inspect_subject(
    subject: FoundSubject,
    sequences: Mapping[str, int],
    *,
    check_images: bool = False,
    allow_different_grids: bool = False,
    allow_other_timepoints: bool = False,
) -> SubjectReport:
    """Check every image of a subject, and whether their grids agree.

    Args:
        subject: the files that were found for it.
        sequences: the sequence table; an image of several timepoints has them as its fourth axis.
        check_images: whether to read the voxels too, not only the headers.
        allow_different_grids: whether unequal grids are only worth a note, for images that are resampled on loading.
        allow_other_timepoints: likewise for series whose timepoints are not as many as the table says.

    Returns:
        the subject's files in the table's order, with problems and notes.
    """
    report = SubjectReport(subject.name, subject.patient or patient_of(subject.name))
    for name in sequences:
        images = subject.files.get(name, [])
        if len(images) > 1:
            places = [str(image[0].parent if isinstance(image, tuple) else image) for image in images]
            report.problems.append(f"{name} found {len(images)} times, keep one of {', '.join(places)}")
        elif images:
            report.files[name] = images[0]
        mask = _only_mask(subject.unique.get(name, []), f"mask of {name}", report)
        if mask is not None:
            report.unique[name] = mask
    report.lesion = _only_mask(subject.lesion, "mask of the lesion", report)
    missing = [name for name in sequences if not subject.files.get(name)]
    if len(missing) == len(sequences):
        report.problems.append("no sequence available")
    elif missing:
        report.notes.append(f"no {', '.join(missing)}")
    noted: dict[str, list[str]] = defaultdict(list)
    for name, series in report.files.items():
        grid, problems, notes = inspect_series(
            series,
            subject.name,
            sequences[name],
            check_voxels=check_images,
            allow_other_timepoints=allow_other_timepoints,
        )
        if grid is not None:
            report.grids[name] = grid
        report.problems += [f"{name}: {problem}" for problem in problems]
        for note in notes:
            noted[note].append(name)
    report.notes += [f"{', '.join(names)}: {note}" for note, names in noted.items()]
    for difference in _differences(report):
        if allow_different_grids:
            report.notes.append(difference)
        else:
            report.problems.append(f"{difference} --allow_different_grids keeps such subjects in the datalist.")
    return report


def datalist_table(
    sequences: Mapping[str, int],
    split: Mapping[str, Sequence[Mapping]],
    reports: Sequence[SubjectReport],
    remarks: Sequence[str] = (),
) -> str:
    """Return the table that a user sees: sections, grids, orientations, problems and notes.

    Args:
        sequences: the sequence table.
        split: for each section, the entries of the datalist.
        reports: of every subject found, those that are left out of the datalist as well.
        remarks: further lines about the dataset as a whole.
    """
    lines = [" " * 12 + "".join(f"{f'{name} ({len(entries)})':^30}" for name, entries in split.items()).rstrip()]
    lines.append("sequence".ljust(12) + f"{'have':>8}{'missing':>10}{'withheld':>10}  " * len(split))
    for name in sequences:
        cells = ""
        for entries in split.values():
            have = sum(name in entry for entry in entries)
            withheld = sum(name in entry.get("withheld", {}) for entry in entries)
            cells += f"{have:>8}{len(entries) - have - withheld:>10}{withheld:>10}  "
        lines.append(name.ljust(12) + cells)
    lines += ["", *remarks] if remarks else []
    grids = Counter(text for report in reports for text in {str(grid) for grid in report.grids.values()})
    axes = Counter(text for report in reports for text in {grid.orientation for grid in report.grids.values()})
    lines += ["", "Grids (subjects)", *_counted(grids), "", "Orientations (subjects)", *_counted(axes)]
    unusable = sum(bool(report.problems) for report in reports)
    lines += ["", f"Problems: {f'{unusable} subjects are left out' if unusable else 'none'}"]
    lines += [f"  {report.name}: {problem}" for report in reports for problem in report.problems]
    notes = [f"  {report.name}: {note}" for report in reports for note in report.notes]
    lines += ["", "Notes", *notes] if notes else []
    return "\n".join(line.rstrip() for line in lines)


def _counted(counter: Counter[str]) -> Iterable[str]:
    return (f"  {text:<40}{count:>6}" for text, count in counter.most_common())


def _only_mask(masks: Sequence[Path], what: str, report: SubjectReport) -> Path | None:
    """Return the one mask found; ``None``, with the problem in the report, where it is not one or not readable."""
    if len(masks) > 1:
        report.problems.append(f"{what} found {len(masks)} times, keep one of {', '.join(map(str, masks))}")
    elif masks:
        try:
            # A mask without a voxel measures nothing.
            return masks[0] if read_volume(masks[0], report.name, allow_constant=True).voxels.any() else None
        except (FileNotFoundError, ValueError) as error:
            report.problems.append(f"{what}: {first_line(error, report.name)}")
    return None


def _differences(report: SubjectReport) -> list[str]:
    """Return one text for each sequence that cannot be brought onto the grid of the subject's first by reorienting."""
    paths = {name: image[0] if isinstance(image, tuple) else image for name, image in report.files.items()}
    first, *others = report.grids or [""]
    texts = [
        (name, grid_difference(report.grids[first], paths[first], report.grids[name], paths[name], report.name))
        for name in others
    ]
    return [f"{first} and {name}: {text}" for name, text in texts if text]
