# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Synthesis of any MRI sequence from any other in 3D or 4D, and maps of the content that only one sequence shows.

The method is that of Han et al., Synthesis-based imaging-differentiation representation learning for multi-sequence
3D/4D MRI (Medical Image Analysis 2024). What a notebook needs::

    import seq2seq_mri as s2s

    generator = s2s.load_bundle("bundles/seq2seq_brats")  # or a downloaded one
    subject = s2s.read_subject({"t1": "t1.nii.gz", "flair": "flair.nii.gz"})

    result = s2s.synthesise(generator, subject, target="t2")
    result.image, result.deviation, result.affine  # the deviation is the inter-source standard deviation
    result.save("t2.nii.gz")

    maps = s2s.differentiate(generator, subject)  # M_d of each sequence: what only it shows
    maps["flair"]

    subjects = s2s.load_datalist("data/datalist.json", "testing")
    ranking = s2s.rank(generator, subjects)  # C_t and C_d with intervals
    ranking.table, ranking.adjacency
    ranking.plot().savefig("ranking.png")

Numbers of equations (Eq.), tables and sections are the paper's, here and in all modules. Names are imported when they
are first used, so that ``import seq2seq_mri`` takes no time; ``__init__.pyi`` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
