# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Training on a GPU: steps of the plain network and of this project's trainer, and the bundle as shipped."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import set_determinism

from gpu_parts import Setting, milliseconds, write_row
from gpu_volumes import whole_subject
from networks import BRAIN, build_generator
from seq2seq_mri.training.trainer import autocast

__all__ = ["cohort", "product_training", "steps", "training"]

CONFIGS = Path(__file__).resolve().parents[1] / "bundles" / "seq2seq_brats" / "configs"
TARGET = 5.0
#: Largest norm of the plain step's gradient, and momentum of its moving average.
CLIP, MOMENTUM = 1.0, 0.002
SLICES = 3
#: Slices of the bundle's network: the brain in 1 mm, cropped.
BUNDLE_SHAPE = (144, 176)
TINY = {"channels": [4, 6], "num_res_blocks": 1, "lstm_layers": 1, "code_channels": 16, "weight_code_channels": 2}


def steps(setting: Setting) -> None:
    """Time training steps, with Adam, clipping and moving average: slices per second and memory by batch size."""
    best: dict[tuple[str, str, str | None], float] = {}
    for dtype in ("bfloat16", None):
        for size in ("published", "bundle"):
            for name, make in (("plain", plain_training), ("trainer", product_training)):
                rates, memory = {}, {}
                for batch in (setting.batches[0], 8, 64) if dtype else (8,):
                    try:
                        rates[batch], memory[batch] = _rate(setting, make, size, dtype, batch)
                    except torch.OutOfMemoryError:
                        break
                    except Exception as error:
                        write_row(setting, "steps", f"{size}, {name}, {dtype}: {error}"[:140], reached=False)
                        break
                    finally:
                        if setting.device == "cuda":
                            torch.cuda.empty_cache()
                if rates:
                    best[size, name, dtype] = max(rates.values())
                    what = f"{size} network, {name}, {dtype or 'float32 (TF32)'}"
                    write_row(setting, "steps", what, "slices/s", by_batch=rates, value=best[size, name, dtype])
                    write_row(setting, "steps", what, "GiB", by_batch=memory)
            if (size, "plain", dtype) in best and (size, "trainer", dtype) in best:
                ratio = best[size, "trainer", dtype] / best[size, "plain", dtype]
                judged = {"target": f">= {TARGET:g}", "reached": ratio >= TARGET} if dtype else {}
                what = f"{size} network, trainer / plain, each at its best batch, {dtype or 'float32 (TF32)'}"
                write_row(setting, "steps", what, "x", value=ratio, **judged)
    free = partial(product_training, deterministic=False)
    rate, _ = _rate(setting, free, "published", "bfloat16", 8)
    what = "published network, trainer, bfloat16, algorithms that need not be deterministic"
    write_row(setting, "steps", what, "slices/s", by_batch={8: rate})


def _rate(
    setting: Setting, make: Callable[..., Callable[[], None]], size: str, dtype: str | None, batch: int
) -> tuple[float, float]:
    count = 2
    run = make(setting, size, dtype, batch, steps=count)
    if setting.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = milliseconds(run, setting.where, 0.4, warm_up=1) / 1e3 / count
    memory = torch.cuda.max_memory_allocated() / 2**30 if setting.device == "cuda" else 0.0
    return batch / seconds, memory


def _shape(setting: Setting, size: str) -> tuple[int, int]:
    return BUNDLE_SHAPE if size == "bundle" and not setting.rehearse else (setting.image_size, setting.image_size)


def plain_training(setting: Setting, size: str, dtype: str | None, batch: int, steps: int) -> Callable[[], None]:
    """Return what makes some steps of the plain network: a source into itself and into another sequence."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    from training import NaiveStep

    torch.backends.cudnn.deterministic = False
    images = torch.rand(batch, len(BRAIN), *_shape(setting, size), SLICES, device=setting.where)
    generator = build_generator("tiny" if setting.rehearse else size).to(setting.where).train()
    step = NaiveStep(generator, images, None, cycle=False)
    average = AveragedModel(step.network, multi_avg_fn=get_ema_multi_avg_fn(1 - MOMENTUM))

    def run() -> None:
        for _ in range(steps):
            step.optimizer.zero_grad()
            with autocast(setting.where, dtype):
                loss = step.compute_loss(*torch.randperm(len(BRAIN))[:3].tolist())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(step.network.parameters(), CLIP)
            step.optimizer.step()
            average.update_parameters(step.network)

    return run


def product_training(
    setting: Setting, size: str, dtype: str | None, batch: int, steps: int, deterministic: bool = True
) -> Callable[[], None]:
    """Return what makes some steps of the trainer that ``train.json`` describes, on a batch as loaders pin it."""
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "train.json"))
    if size == "published":
        overlay = json.loads((CONFIGS / "published.json").read_text())
        parser.update({key: value for key, value in overlay.items() if key.startswith("network_def#")})
    if setting.rehearse:
        parser.update({f"network_def#{key}": value for key, value in TINY.items()})
    image = torch.rand(batch, len(BRAIN), *_shape(setting, size), SLICES)
    samples = {
        "image": image.pin_memory() if setting.device == "cuda" else image,
        "available": torch.ones(batch, len(BRAIN), dtype=torch.bool),
        "subject": [f"p{number}" for number in range(batch)],
    }
    # The moving average is the only handler that computes.
    handlers = "$[@train#ema]"
    parser.update({"device": setting.device, "autocast_dtype": dtype, "train#trainer#train_handlers": handlers})
    parser.update({"train#trainer#train_data_loader": [samples] * steps, "train#trainer#max_epochs": 10**9})
    # As the bundle's own start does: cuDNN takes deterministic algorithms.
    set_determinism(seed=0)
    torch.backends.cudnn.deterministic = deterministic
    trainer = parser.get_parsed_content("train#trainer")

    def run() -> None:
        trainer.state.max_epochs = trainer.state.epoch + 1
        trainer.run()

    return run


def _simulate(folder: str, shape: tuple[int, int, int], spacing: float, seed: int) -> None:
    from mri_phantom.brain import SimulateBrain

    SimulateBrain(f"{folder}/{seed}", shape=shape, spacing=spacing, splits=(1, 0, 0), missing=(0, 2), seed=seed)()


def cohort(setting: Setting) -> None:
    """Simulate a cohort with random missing sequences, a subject on each core, and the subject of whole volumes."""
    cores = len(os.sched_getaffinity(0))
    count = 4 if setting.rehearse else max(4, min(14, cores - 2))
    shape, spacing = ((40, 44, 36), 4.5) if setting.rehearse else ((144, 176, 136), 1.25)
    folder = Path(setting.scratch, "cohort")
    context: Any = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(count, cores), mp_context=context) as pool:
        simulated = pool.map(partial(_simulate, str(folder), shape, spacing), range(count))
        whole_subject(setting)
        list(simulated)
    entries = []
    for number in range(count):
        (entry,) = json.loads((folder / str(number) / "datalist.json").read_text())["training"]
        files = {key: f"{number}/{value}" for key, value in entry.items() if key in BRAIN}
        entries.append({"subject": f"simulated-{number}", **files})
    content = {"name": "simulated", "sequences": BRAIN, "training": entries[2:], "validation": entries[:2]}
    (folder / "datalist.json").write_text(json.dumps(content))


def training(setting: Setting) -> None:
    """Train the bundle as shipped for some epochs, through the workflow of ``monai.bundle run training``."""
    for dtype in ("bfloat16", None):
        options: dict[str, Any] = {
            "bundle_root": str(CONFIGS.parent),
            "dataset_dir": str(Path(setting.scratch, "cohort")),
            "output_dir": str(Path(setting.scratch, f"trained-{dtype}")),
            "device": setting.device,
            "autocast_dtype": dtype,
            "max_epochs": 3,
            "val_interval": 3,
        }
        if setting.rehearse:
            options |= {"slice_size": [40, 44], **{f"network_def#{key}": value for key, value in TINY.items()}}
        began = time.perf_counter()
        workflow = ConfigWorkflow(
            str(CONFIGS / "train.json"), workflow_type="train", run_id="training", logging_file=False, **options
        )
        workflow.initialize()
        watch = _Watch(workflow.parser.get_parsed_content("train#trainer"), setting, began, 14.0)
        workflow.run()
        workflow.finalize()
        watch.write(f"bundle as shipped, {dtype or 'float32 (TF32)'}")


class _Watch:
    """Times the iterations of a training from its second epoch on, and what it waits for data."""

    def __init__(self, trainer: Any, setting: Setting, began: float, limit: float) -> None:
        self.setting, self.began, self.limit = setting, began, limit
        self.losses: list[float] = []
        self.iterations: list[float] = []
        self.waits: list[float] = []
        self.first: float | None = None
        self._asked = self._got = 0.0
        trainer.add_event_handler(Events.GET_BATCH_STARTED, self._ask)
        trainer.add_event_handler(Events.GET_BATCH_COMPLETED, self._get)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._complete)

    def _now(self) -> float:
        if self.setting.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _ask(self, engine: Any) -> None:
        self._asked = self._now()

    def _get(self, engine: Any) -> None:
        self._got = time.perf_counter()

    def _complete(self, engine: Any) -> None:
        now = self._now()
        self.losses.append(float(engine.state.output["loss"]))
        if self.first is None:
            self.first = now - self.began
        if engine.state.epoch > 1 and self._asked > 0:
            self.iterations.append(now - self._asked)
            self.waits.append(self._got - self._asked)
        if now - self.began > self.limit and not self.setting.rehearse:
            engine.terminate()

    def write(self, what: str) -> None:
        """Write the rows."""
        part = "training"
        write_row(self.setting, part, f"{what}: start to the end of the first iteration", "s", value=self.first)
        is_finite = all(math.isfinite(loss) for loss in self.losses)
        write_row(self.setting, part, f"{what}: finite losses of {len(self.losses)}", reached=is_finite)
        if self.iterations:
            mean = sum(self.iterations) / len(self.iterations)
            share = 100 * sum(self.waits) / sum(self.iterations)
            write_row(self.setting, part, f"{what}: an iteration, from the second epoch on", "s", value=mean)
            waiting = {"value": share, "target": "< 5", "reached": share < 5}
            write_row(self.setting, part, f"{what}: of it waiting for data", "%", **waiting)
        else:
            write_row(self.setting, part, f"{what}: stopped in the first epoch, nothing timed", reached=False)
