# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What maintainers run: building and checking releases, converting released checkpoints."""
