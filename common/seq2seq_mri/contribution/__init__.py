# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Table 2: which sequence ranks where in a cohort, and how surely."""
