# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Transforms of multi-sequence MRI: loading, wash maps, intensities, 2.5D stacks, channels, saving.

Reorienting, cropping, padding and flipping are MONAI's own transforms, named in the bundles' configs.
"""
