# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Losses: reconstruction, perceptual, adversarial and cycle of the generator; cross entropy of the classifier."""
