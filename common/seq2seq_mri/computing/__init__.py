# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a computation takes: memory, arithmetic, and a process of its own to measure them in."""
