# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Transforms of multi-sequence MRI: loading, wash maps, intensities, 2.5D stacks, channels, saving.

Reorienting, cropping, padding and flipping are MONAI's own transforms, named in the bundles' configs.
"""

from __future__ import annotations

from seq2seq_mri.transforms.intensity import NormalizeSequencesd
from seq2seq_mri.transforms.load import LoadImageSequencesd
from seq2seq_mri.transforms.save import SaveImageSequencesd, save_volume
from seq2seq_mri.transforms.select_channels import SelectChannelsd
from seq2seq_mri.transforms.slice_stack import network_input, slice_stacks
from seq2seq_mri.transforms.wash_maps import AddWashMapsd

__all__ = [
    "AddWashMapsd",
    "LoadImageSequencesd",
    "NormalizeSequencesd",
    "SaveImageSequencesd",
    "SelectChannelsd",
    "network_input",
    "save_volume",
    "slice_stacks",
]
