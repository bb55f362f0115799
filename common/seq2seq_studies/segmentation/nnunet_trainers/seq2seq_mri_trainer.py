# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""nnU-Net's trainer with a seed and any length of training. nnU-Net finds it through ``nnUNet_extTrainer``."""

from __future__ import annotations

import os

import torch
from monai.utils import set_determinism
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class Seq2SeqMriTrainer(nnUNetTrainer):
    """``nnUNetTrainer`` with seed, epochs, steps and threads from environment variables; all else is its own.

    nnU-Net's own short trainers have 1, 5, 10, … epochs of 250 steps, and no seed. It validates on a fifth as many
    steps, as nnU-Net does, and leaves out the prediction of the validation subjects after training: test subjects are
    what is measured.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 (nnU-Net's signature, which it inspects)
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = int(os.environ["SEQ2SEQ_MRI_EPOCHS"])
        self.num_iterations_per_epoch = int(os.environ["SEQ2SEQ_MRI_STEPS"])
        self.num_val_iterations_per_epoch = max(1, self.num_iterations_per_epoch // 5)
        self.seed = int(os.environ["SEQ2SEQ_MRI_SEED"])

    def initialize(self) -> None:
        """Build the network from the seed, on the user's number of threads."""
        set_determinism(self.seed)
        # On a CPU nnU-Net takes all cores, whatever the user has set; on one that others use, that is slower.
        threads = os.environ.get("SEQ2SEQ_MRI_THREADS", "")
        if self.device.type == "cpu" and threads.isdecimal():
            torch.set_num_threads(int(threads))
        super().initialize()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Do nothing: the test subjects are predicted instead."""
