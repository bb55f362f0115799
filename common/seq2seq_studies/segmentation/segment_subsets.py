# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command ``python -m seq2seq_studies segment_subsets``: Table 3."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from seq2seq_mri.evaluation.page import command_line
from seq2seq_mri.evaluation.records import write_records
from seq2seq_mri.files import atomic_path, check_writable_directory
from seq2seq_mri.io.datalists.datalist import load_datalist, names_in_list, read_sequence_table
from seq2seq_mri.plots.style import save_figure
from seq2seq_mri.run_manifest import claim_directory
from seq2seq_studies.segmentation.combination import default_combinations, parse_combinations
from seq2seq_studies.segmentation.combination_run import CombinationRun
from seq2seq_studies.segmentation.nnunet_process import check_nnunet, choose_device
from seq2seq_studies.segmentation.segmentation_figure import segmentation_comparison
from seq2seq_studies.segmentation.segmentation_page import write_page
from seq2seq_studies.segmentation.segmentation_table import format_comparison, segmentation_table
from seq2seq_studies.segmentation.subjects import SegmentationSubject, find_convention, select_subjects
from seq2seq_studies.segmentation.training_plan import TrainingPlan, whole_numbers

__all__ = ["segment_subsets"]

_LEAST_TRAINING = 5  # nnU-Net's cross-validation has five folds


def segment_subsets(
    datalist: str | os.PathLike,
    output_dir: str | os.PathLike,
    combinations: str | Sequence[str] | None = None,
    dataset_dir: str | os.PathLike | None = None,
    training: str | Sequence[str] = "training",
    testing: str | Sequence[str] = "testing",
    synthesised_dir: str | os.PathLike | None = None,
    segmentation: str | None = None,
    labels: str = "auto",
    withheld: bool = False,
    incomplete: str = "error",
    resample: bool = False,
    epochs: int = 1000,
    steps: int = 250,
    folds: int | Sequence[int] = 0,
    seeds: int | Sequence[int] = 0,
    configuration: str = "3d_fullres",
    features: int | None = None,
    patch: int | None = None,
    batch_size: int | None = None,
    mirroring: bool = True,
    workers: int | None = None,
    device: str | None = None,
    margin_dsc: float = 0.05,
    margin_assd: float = 1.0,
    confidence: float = 0.95,
    export_only: bool = False,
    page: str | os.PathLike | None = None,
    data: str | None = None,
) -> str:
    """Find out whether nnU-Net segments tumours from fewer sequences, or from synthesised ones, as well as from all.

    For each combination of sequences an nnU-Net is trained on the same subjects and segments the same test subjects:
    ET, TC and WT of BraTS (enhancing tumour, tumour core, whole tumour). DSC and ASSD of each combination are compared
    with those of the first by a one-sided paired t-test (is it worse?) and by a test of non-inferiority (is what it
    loses less than a margin?). Source: Han et al., Medical Image Analysis 2024, on segmentation with fewer sequences.

    A combination is the names of its sequences with + between them, such as t1gd+flair. In t1+t1gd:synthesised, T1Gd
    is the image that a generator made.

    It needs nnU-Net: pip install "seq2seq-mri[segmentation]". The same command goes on with a stopped job; finished
    trainings are not repeated, and combinations, folds and seeds may be added.

    OUTPUT_DIR receives scores.csv (every subject, region and training), comparison.csv and comparison.md (the table),
    comparison.png, and a folder for each combination with its predictions and all folders of nnU-Net. In predictions
    oedema is 1, necrosis and non-enhancing core 2, enhancing tumour 3.

    Where a mask is empty: both, DSC 1 and ASSD 0; only one, DSC 0 and ASSD the image's diagonal, as BraTS has it.

    Args:
        datalist: JSON file of the subjects; python -m seq2seq_mri datalist makes one. Their labels are the mask under
            "lesion".
        output_dir: folder for the results; made when absent.
        combinations: several of them, with commas; the first is the reference. By default, for the sequences of BraTS,
            all four, t1gd+flair, t2+flair, t1+t2+flair, and with synthesised_dir all four with T1Gd synthesised.
        dataset_dir: folder that paths of the datalist start from; by default that of the datalist.
        training: sections of the datalist to train on; at least five subjects.
        testing: sections to test on.
        synthesised_dir: output folder of a bundle's inference with the synthesised sequences of all these subjects. The
            inference makes them with --targets t1gd --section "['training','testing']"; it makes none from itself. If
            the generator was trained on the subjects to train on, it does better on those than on the subjects to test
            on.
        segmentation: path of the labels with {subject}, such as "{subject}/{subject}-seg.nii.gz", from dataset_dir; for
            subjects that have no "lesion" in the datalist.
        labels: numbering of the labels, "1,2,3" (BraTS from 2023) or "1,2,4" (until 2021), where the last is the
            enhancing tumour; auto tells it from the files, or says why it cannot.
        withheld: whether sequences that are silenced on purpose count as measured.
        incomplete: error or leave_out, of all combinations, a subject that lacks a sequence of any of them or its
            labels.
        resample: whether images on another grid than the labels are resampled to it, or refused.
        epochs: length of a training; nnU-Net's own is 1000. On a CPU try 5 to 20 first.
        steps: optimisation steps of an epoch; nnU-Net's own is 250.
        folds: which of nnU-Net's five folds to train, such as 0 or 0,1,2,3,4. Each is tested by itself, and a subject's
            result is the mean.
        seeds: of trainings, such as 0, or 0,1,2 to repeat each fold.
        configuration: of nnU-Net, 3d_fullres or 2d.
        features: channels of the network's first stage, by default as nnU-Net plans (32); later stages shrink alike.
        patch: greatest edge of a patch in voxels, by default as nnU-Net plans.
        batch_size: patches of a step, by default as nnU-Net plans.
        mirroring: whether a prediction is the mean over all mirrored images, as in nnU-Net; false is 8 times faster.
        workers: processes that preprocess and augment; by default 4 on a GPU and 0, none of their own, on a CPU.
        device: cuda or cpu; by default a GPU if there is one. On a CPU OMP_NUM_THREADS is the number of threads.
        margin_dsc: greatest loss of DSC that does not matter, for the test of non-inferiority.
        margin_assd: the same of ASSD, in mm.
        confidence: of the upper limits of losses; 1 - confidence is the level of the test.
        export_only: whether to stop when nnU-Net's raw data sets are written; needs no nnU-Net.
        page: Markdown file to write the results to as a page, with its CSV and figure beside it.
        data: what the page says about the data, for example the command that simulated it.

    Returns:
        The table in Markdown, or the path of the folder of combinations with export_only.

    Raises:
        ValueError: when nnU-Net is not installed, an option is wrong, a subject lacks something, labels are ambiguous,
            nnU-Net fails, or output_dir holds results of another protocol.
        FileNotFoundError: when files of the datalist do not exist.
    """
    options = dict(locals())
    if not export_only:
        check_nnunet()
    used = choose_device(device)
    plan = TrainingPlan(
        epochs=epochs,
        steps=steps,
        folds=whole_numbers(folds, "folds"),
        seeds=whole_numbers(seeds, "seeds"),
        configuration=configuration,
        features=features,
        patch=patch,
        batch_size=batch_size,
        mirroring=mirroring,
        workers=(4 if used == "cuda" else 0) if workers is None else workers,
        device=used,
    )
    margins = {"dsc": margin_dsc, "assd": margin_assd}
    _check_statistics(margins, confidence)
    sequences = read_sequence_table(datalist)
    names = names_in_list(combinations) or default_combinations(sequences, synthesised_dir is not None)
    parsed = parse_combinations(names, sequences)
    root = Path(datalist).expanduser().parent if dataset_dir is None else Path(dataset_dir).expanduser()
    groups: dict[str, list[SegmentationSubject]] = {}
    for group, section in (("training", training), ("testing", testing)):
        entries = load_datalist(datalist, section, root)
        groups[group] = select_subjects(
            entries, parsed, synthesised_dir, segmentation, root.resolve(), withheld, incomplete
        )
    _check_subjects(groups)
    # On a command line "1,2,3" arrives as three numbers.
    numbering = labels if isinstance(labels, str) else ",".join(str(value) for value in labels)
    convention = find_convention([*groups["training"], *groups["testing"]], numbering)

    folder = check_writable_directory(output_dir).resolve()
    exported = {
        "labels": convention,
        "resample": resample,
        **{group: [subject.name for subject in subjects] for group, subjects in groups.items()},
    }
    claim_directory(folder / "protocol.json", exported, resume=True, part="data")
    if not export_only:
        claim_directory(folder / "protocol.json", plan.protocol(), resume=True, part="training")
    runs = [
        CombinationRun(
            folder / one.folder, one, sequences, groups["training"], groups["testing"], convention, plan, resample
        )
        for one in parsed
    ]
    for run in runs:
        if run.combination.synthesised and synthesised_dir is not None:
            source = {"synthesised_dir": str(Path(synthesised_dir).expanduser().resolve())}
            claim_directory(run.folder / "protocol.json", source, resume=True, part="data")
    _export(runs, sum(map(len, groups.values())))
    if export_only:
        return str(folder)
    _train(runs, plan)

    each = [(run, seed, fold) for run in runs for seed in plan.seeds for fold in plan.folds]
    scores = pd.concat([run.scores(seed, fold) for run, seed, fold in each], ignore_index=True)
    facts = [{"combination": run.combination.name, **run.facts(seed, fold)} for run, seed, fold in each]
    text = _write_results(folder, scores, parsed[0].name, margins, confidence)
    if page is not None:
        counts = [len(subjects) for subjects in groups.values()]
        about = data or f"{Path(datalist).name}: {counts[0]} subjects to train on, {counts[1]} to test on"
        write_page(page, command_line(segment_subsets, options), about, scores, facts, plan, margins, confidence)
    return text


def _check_statistics(margins: dict[str, float], confidence: float) -> None:
    for name, margin in margins.items():
        if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not margin > 0:
            raise ValueError(f"margin_{name} is {margin!r}; give a positive number.")
    if not isinstance(confidence, (int, float)) or not 0.5 <= confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; give a number from 0.5 to less than 1.")


def _check_subjects(groups: dict[str, list[SegmentationSubject]]) -> None:
    if len(groups["training"]) < _LEAST_TRAINING:
        raise ValueError(
            f"There are {len(groups['training'])} subjects to train on; nnU-Net's five folds need at least "
            f"{_LEAST_TRAINING}."
        )
    if not groups["testing"]:
        raise ValueError("There is no subject to test on.")
    both = {subject.name for subject in groups["training"]} & {subject.name for subject in groups["testing"]}
    if both:
        raise ValueError(f"Subject {min(both)} would be both trained and tested on; give sections that share none.")


def _export(runs: Sequence[CombinationRun], subjects: int) -> None:
    with tqdm(total=len(runs) * subjects, desc="Exporting", unit="subject") as bar:
        for place, run in enumerate(runs):
            run.export(bar.update)
            bar.update((place + 1) * subjects - bar.n)


def _train(runs: Sequence[CombinationRun], plan: TrainingPlan) -> None:
    """Run all trainings, by seed and fold first: a stopped job has all combinations of the first of them."""
    each = [(run, seed, fold) for seed in plan.seeds for fold in plan.folds for run in runs]
    with tqdm(total=len(each) * plan.epochs, desc="nnU-Net", unit="epoch") as bar:
        for place, (run, seed, fold) in enumerate(each):
            done = place * plan.epochs
            if not run.is_done(seed, fold):
                bar.set_postfix_str(f"{run.combination.name}, seed {seed}, fold {fold}")
                run.run(seed, fold, lambda epoch, done=done: bar.update(done + epoch - bar.n))  # type: ignore[misc]
            bar.update(done + plan.epochs - bar.n)


def _write_results(
    folder: Path, scores: pd.DataFrame, reference: str, margins: dict[str, float], confidence: float
) -> str:
    """Write table and figure of the scores, and return the table in Markdown."""
    write_records(folder / "scores.csv", scores, overwrite=True)
    table = segmentation_table(scores, reference, margins, confidence)
    write_records(folder / "comparison.csv", table, overwrite=True)
    text = format_comparison(table, margins, confidence)
    with atomic_path(folder / "comparison.md", overwrite=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    figure = segmentation_comparison(scores, reference, margins, confidence=confidence)
    save_figure(figure, folder / "comparison.png", overwrite=True)
    return text
