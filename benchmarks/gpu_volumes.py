# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Whole subjects on a GPU: one missing sequence through the inference bundle, and the analysis of all pairs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from monai.utils import set_determinism

from gpu_parts import Setting, milliseconds, write_row
from networks import BRAIN, build_generator
from seq2seq_mri.training.checkpoint import save_weights
from simulated_subject import write_subject
from subject import STAGES, Task, analyse

__all__ = ["analysis", "missing", "whole_subject"]

CONFIGS = Path(__file__).resolve().parents[1] / "bundles" / "seq2seq_brats" / "configs"
NETWORK_SECONDS, FILE_SECONDS = 0.16, 1.0
MISSING = "t1gd"
COPIES = 6


def whole_subject(setting: Setting) -> dict[Any, Any]:
    """Return the dictionary of a simulated subject without an empty slice, which is written at the first call."""
    folder = Path(setting.scratch, "subject")
    if not (folder / "subject.json").exists():
        folder.mkdir(exist_ok=True)
        files = write_subject(folder, setting.image_size, setting.slices)
        (folder / "subject.json").write_text(json.dumps(files))
    return json.loads((folder / "subject.json").read_text())


def missing(setting: Setting) -> None:
    """Time one missing sequence of a subject through ``inference.json``: the network, and file to file."""
    folder = Path(setting.scratch, "missing")
    folder.mkdir()
    files = whole_subject(setting)
    del files[MISSING]
    entries = [{**files, "subject": f"p{number}"} for number in range(COPIES)]
    (folder / "datalist.json").write_text(json.dumps({"sequences": BRAIN, "testing": entries}))
    (folder / "one.json").write_text(json.dumps({"sequences": BRAIN, "testing": entries[:1]}))
    generator = build_generator(setting.size)
    save_weights(generator, folder / "weights.pt")
    names = ("channels", "num_res_blocks", "lstm_layers", "code_channels", "weight_code_channels")
    network = _published() if not setting.rehearse else dict(zip(names, ([4, 6], 1, 1, 16, 2), strict=True))
    options = {f"network_def#{key}": value for key, value in network.items()}
    # What the random weights were made with.
    options["network_def#upsample"] = "last" if setting.rehearse else "first"

    def workflow(**more: Any) -> ConfigWorkflow:
        places = {"bundle_root": str(CONFIGS.parent), "dataset_dir": str(folder), "output_dir": str(folder / "output")}
        made = ConfigWorkflow(
            str(CONFIGS / "inference.json"),
            workflow_type="infer",
            run_id="inference",
            logging_file=False,
            **places,
            checkpoint=str(folder / "weights.pt"),
            device=setting.device,
            autocast_dtype="bfloat16",
            slice_size=[setting.image_size] * 2,
            existing="overwrite",
            **options,
            **more,
        )
        made.initialize()
        set_determinism(seed=0)  # as the bundle's own start does
        return made

    first = workflow(datalist=str(folder / "one.json"), num_workers=0)
    parser = first.parser
    sample = parser.get_parsed_content("dataset")[0]
    inferer, fuse, weights = (parser.get_parsed_content(name) for name in ("translation", "fuse", "weights"))
    sources = [name for name in BRAIN if name != MISSING]
    image, trained = sample["image"][None], weights.eval()

    def translate() -> None:
        inferer(image, trained, sources=sources, targets=[MISSING], reduce=fuse)

    what = f"network and transfers, {setting.slices} slices of 3 sources, bfloat16"
    seconds = milliseconds(translate, setting.where) / 1e3
    judged = {"target": f"<= {NETWORK_SECONDS:g}", "reached": seconds <= NETWORK_SECONDS}
    write_row(setting, "missing", f"{what}, default batch", "s", value=seconds, **judged)
    by_batch = {}
    for inferer.slice_batch_size in setting.batches[1:]:
        by_batch[inferer.slice_batch_size] = milliseconds(translate, setting.where, 0.0, warm_up=1) / 1e3
    write_row(setting, "missing", f"{what}, by batch", "s", by_batch=by_batch, value=min(by_batch.values()))
    inferer.slice_batch_size = None
    report = parser.get_parsed_content("report")
    for report.figures in (False, True):
        for _ in range(2):  # the first is a warm-up
            seconds = _seconds_of(first, setting)
        judged = {} if report.figures else {"target": f"<= {FILE_SECONDS:g}", "reached": seconds <= FILE_SECONDS}
        drawn = "with its picture" if report.figures else "no picture"
        write_row(setting, "missing", f"file to file, one subject, {drawn}", "s", value=seconds, **judged)
    first.finalize()
    seconds = _seconds_of(workflow(), setting) / COPIES
    write_row(setting, "missing", f"file to file, each of {COPIES} subjects, as shipped", "s/subject", value=seconds)


def _published() -> dict[str, Any]:
    content = json.loads((CONFIGS / "published.json").read_text())
    return {key.split("#")[1]: value for key, value in content.items() if key.startswith("network_def#")}


def _seconds_of(workflow: ConfigWorkflow, setting: Setting) -> float:
    """Run inference; the network is loaded before the clock starts."""
    evaluator = workflow.parser.get_parsed_content("evaluator")
    began = time.perf_counter()
    evaluator.run()
    if setting.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def analysis(setting: Setting) -> None:
    """Time the analysis of a subject: all twelve pairs, M_d, sixteen files."""
    folder = Path(setting.scratch, "analysis")
    threads = min(16, len(os.sched_getaffinity(0)))
    task = Task("bf16", setting.size, setting.device, whole_subject(setting), str(folder), False, None, threads)
    for turn in ("first", "second"):  # the second has its kernels chosen
        result = analyse(task)
        whole = sum(result[stage] for stage in STAGES)
        write_row(setting, "analysis", f"12 pairs, M_d, 16 files, {turn} run", "s", value=whole)
    for stage in STAGES:
        share = 100 * result[stage] / whole
        judged = {"target": "> 50", "reached": share > 50} if stage == "writing" else {}
        what = f"of it {stage}{f', {threads} threads' if stage == 'writing' else ''}, {result[stage]:.2f} s"
        write_row(setting, "analysis", what, "%", value=share, **judged)
