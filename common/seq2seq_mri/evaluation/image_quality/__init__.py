# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Image quality of synthesised sequences: PSNR, SSIM, LPIPS."""
