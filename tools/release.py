# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command that builds a release."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from seq2seq_mri.files import atomic_path, check_writable_directory
from tools.archive import write_archive
from tools.build import BuiltBundle, build_archives
from tools.bundle_files import list_bundles
from tools.checks import release_key
from tools.large_files import model_zoo_form
from tools.model_info import file_hash, read_model_info, update_model_info, write_model_info

__all__ = ["release"]


def release(
    *names: str,
    repository: str | os.PathLike = ".",
    output_dir: str | os.PathLike = "dist",
    source: str | None = None,
    schema: str | os.PathLike | None = None,
    environment: str = "this",
    model_zoo: bool = False,
    overwrite: bool = False,
) -> str:
    """Check bundles, and build of each the archive NAME_vX.Y.Z.zip that MONAI downloads.

    An archive has the bundle with its TorchScript (models/model.ts), and the package beside configs/: unzipped, it runs
    with packages of PyPI only. Equal files give equal bytes, with the same versions of Python, PyTorch and MONAI.

    Checked are: metadata (MONAI's schema, name, version and changelog), that no file is there that should not be
    published, links of the documentation, weights (plain, finite, all of this network), the network's shapes, MONAI's
    properties of training, evaluation and inference, TorchScript, and an inference on a simulated subject with the
    unzipped archive, where the package can come from nowhere else. When a check fails nothing is written.

    Args:
        names: of the bundles; all of the repository by default.
        repository: the checkout of the project.
        output_dir: folder to write archives to; made when absent.
        source: address of the folder from which the archives will be downloaded, with http or https; that of a tag on
            GitHub ends in OWNER/REPOSITORY/releases/download/TAG. It goes into models/model_info.json of the
            repository, from which MONAI takes versions. Without it that file is left alone.
        schema: a copy of the schema that metadata.json names; it is downloaded by default.
        environment: Python for the inference: "this" (with this package made invisible), "clean" for a new virtual
            environment from PyPI (about 7 GB), or the path of another interpreter.
        model_zoo: whether to write NAME_vX.Y.Z_model_zoo.zip, too: the folder for a pull request to MONAI's model zoo,
            in which files above 25 MB are entries of large_files.yml; these files are written besides, to be uploaded
            to source.
        overwrite: whether archives, and entries of models/model_info.json, that exist may be replaced.

    Returns:
        a line for each file that was written, with its size and SHA-1.

    Raises:
        FileExistsError: when a file exists and overwrite is false.
        FileNotFoundError: when a bundle or one of its files is missing.
        ValueError: when a check fails, or source is no address.
    """
    repository = Path(repository)
    output = Path(output_dir)
    if source is not None and not re.fullmatch(r"https?://[^\s?#]+", source):
        raise ValueError(f"source is {source!r}; give the address of a folder, beginning with https://.")
    if not overwrite:
        _refuse_existing(repository, names, output, model_zoo)
    info_path = repository / "models" / "model_info.json"
    info = read_model_info(info_path)
    schema_path = None if schema is None else Path(schema)
    with (
        build_archives(repository, names, schema_path, environment) as built,
        tempfile.TemporaryDirectory() as temporary,
    ):
        written = {f"{bundle.key}.zip": bundle.archive for bundle in built}
        if source is not None:
            archives = {bundle.key: bundle.archive for bundle in built}
            info = update_model_info(info, archives, source, info_path, overwrite)
        if model_zoo:
            written |= _model_zoo(built, source, Path(temporary))
        check_writable_directory(output)
        lines = [_publish(path, output / name, overwrite) for name, path in written.items()]
    if source is not None:
        write_model_info(info, info_path)
        lines.append(str(info_path))
    return "\n".join(lines)


def _refuse_existing(repository: Path, names: tuple[str, ...], output: Path, model_zoo: bool) -> None:
    """Refuse before the work what would be refused after it."""
    endings = ("", "_model_zoo") if model_zoo else ("",)
    for bundle in list_bundles(repository, names):
        for ending in endings:
            path = output / f"{release_key(bundle)}{ending}.zip"
            if path.exists():
                raise FileExistsError(f"{path} exists; choose another output_dir, or replace it by --overwrite.")


def _model_zoo(built: Iterable[BuiltBundle], source: str | None, folder: Path) -> dict[str, Path]:
    """Write the archives for the model zoo to ``folder``; return them and the large files, by name."""
    written: dict[str, Path] = {}
    for bundle in built:
        files, downloads = model_zoo_form(bundle.files, bundle.key, source)
        path = folder / f"{bundle.key}_model_zoo.zip"
        write_archive(files, path, bundle.name)
        written |= {path.name: path} | downloads
    return written


def _publish(source: Path, path: Path, overwrite: bool) -> str:
    with atomic_path(path, overwrite=overwrite) as temporary:
        shutil.copyfile(source, temporary)
    return f"{path}  {path.stat().st_size / 1e6:.1f} MB  {file_hash(path)}"
