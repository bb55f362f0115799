# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command ``python -m seq2seq_mri datalist``, which makes a datalist from a folder of MRI and reports on it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from tqdm import tqdm

from seq2seq_mri.io.datalists.datalist import SECTIONS, names_in_list, write_datalist
from seq2seq_mri.io.datalists.inspection import Checks, SubjectReport, datalist_table, inspect_subject
from seq2seq_mri.io.datalists.layouts import patient_of
from seq2seq_mri.io.datalists.scan import Scan, Series, scan_dataset
from seq2seq_mri.io.datalists.splits import PAPER_COUNTS, choose_withheld, published_split, split_subjects
from seq2seq_mri.sequences import SEQUENCE_TABLES, check_sequences

__all__ = ["MakeDatalist"]


@dataclass
class MakeDatalist:
    """Scan a folder of MRI and write the datalist that training, evaluation and inference read.

    Subjects that could not be loaded (unreadable images, grids that differ, a sequence found twice) are left out of
    the datalist, and the table says which and why. The same folder, options and seed give the same datalist.

    Example:
        python -m seq2seq_mri datalist DATASET datalist.json --testing patient19
        python -m seq2seq_mri datalist DATASET datalist.json --pattern "{subject}/{sequence}.nii.gz"
        --names t1=MPRAGE,t1gd=MPRAGE_GD
        python -m seq2seq_mri datalist STUDY datalist.json --sequences breast --layout breast
        python -m seq2seq_mri datalist STUDY datalist.json --sequences "{t1: 1, dce: 6}"
        --pattern "{patient}/{visit}/{sequence}"

    Args:
        dataset_dir: the folder to scan, with everything below it.
        output: the JSON file to write.
        sequences: the sequence table, name to number of timepoints, such as "{t1: 1, dce: 6}", or one of the bundles'
            by its name: brats (t1, t1gd, t2, flair) or breast (t1, fatsat_t1, t2, dce, fatsat_dce, wash_in, wash_out,
            dwi).
        layout: how files are named: brats (2018 to 2024), open_ms, breast (PATIENT/VISIT/SEQUENCE or
            PATIENT/SEQUENCE; a sequence is a NIfTI file, or a folder of DICOM files or of NIfTI frames), or auto,
            which knows all of their names of files, mixed as well.
        pattern: your own naming, as a path below dataset_dir with {sequence} and {subject} in it, or {patient} and
            {visit} for subject PATIENT_VISIT; * stands for anything within a name. Without .nii at its end, it stands
            for folders of DICOM files or NIfTI frames too.
        names: your own names of sequences, ours=theirs with commas between.
        fractions: of training, validation, testing; default 0.8,0.1,0.1.
        counts: numbers of subjects for training, validation, testing instead of fractions; "paper" is 830,93,328.
        published_lists: the folder of the split published with the paper (*train.csv, *valid.csv, *test.csv), instead
            of fractions; sequences that the lists call unavailable are withheld.
        training: subjects that training gets, and no other; commas between.
        validation: likewise for validation.
        testing: likewise for testing, for example one patient to be left out.
        silence: sections in which each subject has random sequences withheld, or "all"; default none.
        silence_at_most: how many sequences of a subject may be withheld; at least one is, and at least one is left.
        check_images: read all voxels, to find corrupt files, NaN, infinite values and constant images; slower.
        allow_different_grids: keep subjects whose sequences lie on different grids.
        allow_other_timepoints: keep subjects whose 4D series have other numbers of timepoints than the table says, for
            loading that resamples them in time or picks their b-values.
        seed: of the split and of the silencing.
        overwrite: whether output may be replaced.
    """

    dataset_dir: str
    output: str
    _: KW_ONLY
    sequences: Mapping[str, int] | str = "brats"
    layout: str = "auto"
    pattern: str | None = None
    names: str | Mapping[str, str | Sequence[str]] | None = None
    fractions: Sequence[float] | None = None
    counts: Sequence[int] | str | None = None
    published_lists: str | None = None
    training: str | Sequence[str] | None = None
    validation: str | Sequence[str] | None = None
    testing: str | Sequence[str] | None = None
    silence: str | Sequence[str] | None = None
    silence_at_most: int = 3
    check_images: bool = False
    allow_different_grids: bool = False
    allow_other_timepoints: bool = False
    seed: int = 0
    overwrite: bool = False

    def __call__(self) -> str:
        """Write the datalist; return a table of subjects, missing sequences, grids, orientations and every problem.

        Raises:
            FileNotFoundError: when the folder or a published list does not exist.
            FileExistsError: when output exists and overwrite is not given.
            ValueError: when options contradict each other, or no subject can be used; then nothing is written.
        """
        root, output = Path(self.dataset_dir).expanduser(), Path(self.output).expanduser()
        if output.exists() and not self.overwrite:
            raise FileExistsError(f"{output} exists; choose another output, or give --overwrite.")
        table = _table(self.sequences)
        named = {section: names_in_list(getattr(self, section)) for section in SECTIONS}
        silenced = SECTIONS if self.silence == "all" else names_in_list(self.silence)
        self._check_split(named, silenced, table)

        scan = scan_dataset(root, table, layout=self.layout, pattern=self.pattern, names=self.names)
        if not scan.subjects:
            raise ValueError(
                f"No image of a known sequence was found in {root} ({_files(scan.unrecognised, root)} not recognised); "
                "describe how the files are named with --pattern and --names."
            )
        checks = Checks(self.check_images, self.allow_different_grids, self.allow_other_timepoints)
        progress = tqdm(scan.subjects.values(), desc="Checking subjects", unit="subject", disable=None, delay=1)
        reports = [inspect_subject(subject, table, checks) for subject in progress]
        usable = {report.name: report for report in reports if not report.problems}
        if not usable:
            problems = "\n".join(f"  {report.name}: {problem}" for report in reports for problem in report.problems)
            problems = problems.replace(f"{root}{os.sep}", "")
            raise ValueError(f"No subject of {root} can be used, so no datalist was written:\n{problems}")

        split, withheld, remarks = self._split(usable, named, silenced)
        unused = len(usable) - sum(len(subjects) for subjects in split.values())
        if unused:
            remarks.append(f"{unused} usable subjects are in no section.")
        sections = {
            section: [_entry(usable[name], root, withheld.get(name, ())) for name in names]
            for section, names in split.items()
        }
        content = {"name": root.resolve().name, "sequences": table, **sections}
        write_datalist(content, output, overwrite=self.overwrite)
        text = datalist_table(table, sections, reports, _remarks(scan, root) + remarks).replace(f"{root}{os.sep}", "")
        return f"{output}: {len(usable) - unused} of {len(reports)} subjects in {root}\n\n{text}"

    def _check_split(
        self, named: Mapping[str, Sequence[str]], silenced: Sequence[str], table: Mapping[str, int]
    ) -> None:
        if self.fractions is not None and self.counts is not None:
            raise ValueError("Both fractions and counts are given; give one of them.")
        if isinstance(self.counts, str) and self.counts != "paper":
            raise ValueError(f"counts is '{self.counts}'; give three numbers, or paper.")
        unknown = [section for section in silenced if section not in SECTIONS]
        if unknown:
            raise ValueError(f"Unknown section '{unknown[0]}' in silence; give {', '.join(SECTIONS)}, or all.")
        if self.published_lists is None:
            return
        if self.fractions is not None or self.counts is not None or any(named.values()) or silenced:
            raise ValueError("The published lists say which subjects go where; leave out all other options of a split.")
        absent = [name for name in SEQUENCE_TABLES["brats"] if name not in table]
        if absent:
            raise ValueError(f"The published lists are about {absent[0]} too, which the sequence table does not have.")

    def _split(
        self, usable: Mapping[str, SubjectReport], named: Mapping[str, Sequence[str]], silenced: Sequence[str]
    ) -> tuple[dict[str, list[str]], dict[str, tuple[str, ...]], list[str]]:
        """Return the names in each section, the sequences to withhold of each subject, and remarks."""
        if self.published_lists is not None:
            return published_split(self.published_lists, {name: list(report.files) for name, report in usable.items()})
        split = split_subjects(
            list(usable),
            fractions=(0.8, 0.1, 0.1) if self.fractions is None else self.fractions,
            counts=PAPER_COUNTS if isinstance(self.counts, str) else self.counts,
            named=named,
            patients={name: report.patient for name, report in usable.items()},
            seed=self.seed,
        )
        withheld = {
            name: choose_withheld(name, list(usable[name].files), at_most=self.silence_at_most, seed=self.seed)
            for section in silenced
            for name in split[section]
        }
        return split, withheld, []


def _table(sequences: Mapping[str, int] | str) -> dict[str, int]:
    if isinstance(sequences, str) and sequences in SEQUENCE_TABLES:
        return dict(SEQUENCE_TABLES[sequences])
    if not isinstance(sequences, Mapping):
        known = ", ".join(SEQUENCE_TABLES)
        raise ValueError(f'sequences is {sequences!r}; give a table such as "{{t1: 1, dce: 6}}", or one of {known}.')
    return check_sequences(sequences)


def _remarks(scan: Scan, root: Path) -> list[str]:
    remarks = []
    if scan.masks:
        remarks.append(f"{_files(scan.masks, root)} taken for segmentations, masks or computed maps.")
    if scan.unrecognised:
        remarks.append(f"{_files(scan.unrecognised, root)} not recognised; --pattern and --names describe other names.")
    return remarks


def _files(paths: Sequence[Path], root: Path) -> str:
    """Return the number of ``paths`` with the first three of them."""
    examples = [str(path.relative_to(root)) for path in paths[:3]] + ["…"] * (len(paths) > 3)
    return f"{len(paths)} file{'' if len(paths) == 1 else 's'}" + (f" ({', '.join(examples)})" if paths else "")


def _entry(report: SubjectReport, root: Path, withheld: Sequence[str]) -> dict:
    def written(series: Series) -> str | list[str]:
        if isinstance(series, tuple):
            return [path.relative_to(root).as_posix() for path in series]
        return series.relative_to(root).as_posix()

    files = {name: written(series) for name, series in report.files.items()}
    entry: dict = {"subject": report.name}
    # A reader tells the patient from other subjects' names as this program does.
    entry |= {} if report.patient == patient_of(report.name) else {"patient": report.patient}
    entry |= {name: path for name, path in files.items() if name not in withheld}
    others: dict = {
        "withheld": {name: path for name, path in files.items() if name in withheld},
        "unique": {name: written(path) for name, path in report.unique.items()},
        "lesion": None if report.lesion is None else written(report.lesion),
    }
    return entry | {key: value for key, value in others.items() if value}
