# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Training: the step, the loop, prepared subjects, checkpoints, and work with several processes."""
