# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Networks: the generator of the paper, its parts and ablations, the discriminators, and the classifier."""
