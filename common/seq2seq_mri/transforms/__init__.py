# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Transforms of multi-sequence MRI: wash maps, intensities, inputs of the generator, channels of a classifier.

Reorienting, cropping, padding and flipping are MONAI's own transforms, named in the bundles' configs.
"""
