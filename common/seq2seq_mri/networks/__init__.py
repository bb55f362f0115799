# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Networks: the generator of the paper and its parts, the discriminators, and the classifier."""
