# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A bundle's network as TorchScript, with its metadata and inference configuration inside, in reproducible bytes."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

from monai.bundle import ckpt_export

from tools.archive import write_archive

__all__ = ["export_torchscript"]

_TOP = "model"


def export_torchscript(bundle: str | os.PathLike, path: str | os.PathLike) -> None:
    """Export ``network_def`` with ``models/model.pt`` by MONAI's ``ckpt_export``, and make its bytes reproducible.

    PyTorch adds the source of every operation for messages of errors, with the paths of the machine on which it was
    exported, and a number that depends on them: both are left out. Its code depends on what the process has scripted
    before, and on the order of sets: export in a process of its own, with PYTHONHASHSEED set. Then equal versions of
    Python, PyTorch and MONAI give equal bytes.

    Args:
        bundle: folder of the bundle.
        path: the file to write.
    """
    bundle = Path(bundle)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder, f"{_TOP}.ts")
        ckpt_export(
            "network_def",
            filepath=str(exported),
            ckpt_file=str(bundle / "models" / "model.pt"),
            meta_file=str(bundle / "configs" / "metadata.json"),
            config_file=str(bundle / "configs" / "inference.json"),
        )
        with zipfile.ZipFile(exported) as archive:
            contents: dict[str, bytes | Path] = {
                name.removeprefix(f"{_TOP}/"): archive.read(name)
                for name in archive.namelist()
                if not name.endswith((".debug_pkl", ".data/serialization_id"))
            }
    write_archive(contents, path, _TOP)
