# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command ``python -m seq2seq_studies compare_generators``, which trains and compares generators (Table 1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mri_phantom.brain import SimulateBrain
from seq2seq_mri.evaluation.image_quality.lpips import SliceLPIPS
from seq2seq_mri.evaluation.page import command_line
from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.run_manifest import claim_directory
from seq2seq_studies.comparison.comparison_cohort import Cohort
from seq2seq_studies.comparison.comparison_page import write_comparison
from seq2seq_studies.comparison.comparison_runs import ComparisonRuns
from seq2seq_studies.comparison.comparison_settings import ComparisonSettings
from seq2seq_studies.comparison.method_evaluation import lpips_network
from seq2seq_studies.study_settings import command_of

__all__ = ["SIMULATED", "compare_generators"]

#: The cohort of the command without a datalist.
SIMULATED: dict[str, Any] = {
    "splits": (10, 0, 6),
    "shape": (56, 72, 44),
    "spacing": 3.2,
    "missing": (1, 2),
    "healthy": 0.0,
    "seed": 7,
}


@command_of(ComparisonSettings)
def compare_generators(settings: ComparisonSettings) -> str:
    """Return the tables of quality in Markdown, and whether the methods beat the baselines."""
    network = lpips_network(settings.lpips)
    lpips = SliceLPIPS(network, device=settings.used_device)
    folder = check_writable_directory(settings.output_dir)
    if settings.datalist is None:
        datalist = folder / "cohort" / "datalist.json"
        if not datalist.exists():
            SimulateBrain(datalist.parent, **SIMULATED, overwrite=True)()
    else:
        datalist = Path(settings.datalist).expanduser()
    cohort = Cohort(settings, datalist, folder / "prepared")
    protocol = {
        **{name: getattr(settings, name) for name in ("size", "slice_size", "slices", "patches", "batch_size")},
        **{"learning_rate": settings.rate, "resample": settings.resample, "lpips": network},
        **{"sequences": cohort.sequences, "training": [entry["subject"] for entry in cohort.training]},
        "testing": [entry["subject"] for entry in cohort.testing],
    }
    if settings.leave_one_out:
        protocol["testing"] = "each patient in turn"
    claim_directory(folder / "protocol.json", protocol, resume=True)
    runs = ComparisonRuns(folder, cohort.leave_one_out() if settings.leave_one_out else [cohort], settings, lpips)
    runs.run()

    counts = f"{len(cohort.training)} subjects to train on, {len(cohort.testing)} to test on"
    if settings.leave_one_out:
        counts = f"{len(cohort.training)} subjects, each patient tested on by methods trained on all others"
    source = f"of {datalist.name}"
    if settings.datalist is None:
        source = f"simulated by this command ({', '.join(f'{key} {value}' for key, value in SIMULATED.items())})"
    about = settings.data or f"{counts}, {source}"
    command = command_line("compare_generators", settings)
    if settings.page is not None:
        write_comparison(Path(settings.page).expanduser(), runs, command, about, network, settings.page_slices)
    return write_comparison(folder / "comparison.md", runs, command, about, network)
