# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A whole small training, put together as train.json does: random crops and flips, EMA, schedule, validation."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from engine_parts import make_sample, tiny_generator, translation_evaluator
from monai.data import DataLoader
from monai.handlers import LrScheduleHandler, ValidationHandler
from monai.transforms import Compose, MapTransform, RandFlipd, RandSpatialCropSamplesd
from torch.utils.data import DistributedSampler

from seq2seq_mri.losses.generator_loss import Seq2SeqLoss
from seq2seq_mri.networks.discriminator import SequenceDiscriminators
from seq2seq_mri.training.checkpoint import TrainingCheckpoint
from seq2seq_mri.training.handlers import EpochSeed, SubjectAverage, TrainingHistory, WeightAverage
from seq2seq_mri.training.subject_dataset import SubjectDataset
from seq2seq_mri.training.trainer import Seq2SeqTrainer
from seq2seq_mri.training.translation_step import TranslationStep

SEQUENCES = {"t1": 1, "dce": 2}
AVAILABLE = {"p1": ["t1", "dce"], "p2": ["t1"], "p3": ["dce"]}


class MakeSampled(MapTransform):
    """Stands in for a loader."""

    def __init__(self) -> None:
        super().__init__("subject")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        subject = data["subject"]
        return make_sample(subject, AVAILABLE[subject], sequences=SEQUENCES, shape=(16, 17, 5))


class Training:
    """Objects of a training in ``directory``; new ones each time, as in a new process."""

    def __init__(
        self,
        directory: Path,
        epochs: int = 4,
        *,
        adversarial: bool = False,
        val_interval: int = 2,
        interval: int = 1,
    ) -> None:
        transforms = [
            MakeSampled(),
            RandSpatialCropSamplesd(keys="image", roi_size=[12, 12, 3], num_samples=2, random_size=False),
            RandFlipd(keys="image", spatial_axis=0, prob=0.5),
        ]
        dataset = SubjectDataset([{"subject": subject} for subject in AVAILABLE], Compose(transforms))
        sampler = DistributedSampler(dataset, num_replicas=1, rank=0)
        self.network = tiny_generator(SEQUENCES)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=epochs)
        self.ema = WeightAverage(self.network, momentum=0.1)
        self.discriminators = SequenceDiscriminators(2, SEQUENCES, channels=4, num_layers=1) if adversarial else None
        discriminator_optimizer = torch.optim.Adam(self.discriminators.parameters()) if self.discriminators else None
        self.evaluator = translation_evaluator(
            [make_sample("v1", ["t1", "dce"], sequences=SEQUENCES), make_sample("v2", ["t1"], sequences=SEQUENCES)],
            sequences=SEQUENCES,
            network=self.ema.ema_model,
            key_val_metric={"val_psnr": SubjectAverage("psnr_foreground")},
        )
        self.history = TrainingHistory(directory, self.optimizer, self.evaluator)
        self.checkpoint = TrainingCheckpoint(
            directory / "checkpoints",
            self.network,
            self.optimizer,
            lr_scheduler=schedule,
            ema_network=self.ema.ema_model,
            discriminators=self.discriminators,
            discriminator_optimizer=discriminator_optimizer,
            evaluator=self.evaluator,
            history=self.history,
            interval=interval,
        )
        loss = Seq2SeqLoss(lambda_perceptual=0, lambda_cycle=1, lambda_adversarial=0.1 if adversarial else 0)
        self.trainer = Seq2SeqTrainer(
            TranslationStep(self.network, loss, discriminators=self.discriminators),
            self.optimizer,
            device="cpu",
            max_epochs=epochs,
            train_data_loader=DataLoader(dataset, batch_size=1, sampler=sampler),
            discriminator_optimizer=discriminator_optimizer,
            train_handlers=[
                EpochSeed(0, dataset),
                self.ema,
                LrScheduleHandler(schedule, print_lr=False),
                ValidationHandler(val_interval, self.evaluator),
                self.history,
                self.checkpoint,
            ],
        )

    def run(self, resume: bool = False) -> None:
        """Train, as the config's ``training`` does."""
        self.checkpoint.prepare(self.trainer, resume=resume)
        self.trainer.run()
