# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command that builds a release: archives of bundles, none of which is written before everything was checked."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from seq2seq_mri.files import atomic_path, check_writable_directory
from tools.archive import extract_archive, read_content, write_archive
from tools.bundle_files import collect_files, list_bundles, neighbours
from tools.checks import check_documentation, check_metadata, check_schema, check_weights, release_key
from tools.downloads import file_hash, model_zoo_form, read_model_info, update_model_info
from tools.trial import run_with, simulate_for, try_inference

__all__ = ["BuiltBundle", "build_archives", "release"]

# GitHub takes no larger file into a release.
_LARGEST_ARCHIVE = 2 * 2**30


@dataclass(frozen=True)
class BuiltBundle:
    """A bundle of which all has been checked.

    Attributes:
        name: of the bundle.
        key: ``NAME_vX.Y.Z``.
        archive: the zip file, in a temporary folder.
        files: what is in it, by path within the bundle.
    """

    name: str
    key: str
    archive: Path
    files: dict[str, bytes | Path]


def release(
    *names: str,
    repository: str | os.PathLike = ".",
    output_dir: str | os.PathLike = "dist",
    source: str | None = None,
    schema: str | os.PathLike | None = None,
    model_zoo: bool = False,
    overwrite: bool = False,
) -> str:
    """Check bundles, and build of each the archive NAME_vX.Y.Z.zip that MONAI downloads.

    An archive has the bundle with its TorchScript (models/model.ts), and the package beside configs/: unzipped, it runs
    with packages of PyPI only. Equal files give equal bytes, with the same versions of Python, PyTorch and MONAI.

    Checked are: metadata (MONAI's schema, name, version and changelog), that no file is there that should not be
    published, links of the documentation, weights (plain, finite, all of this network), the network's shapes, MONAI's
    properties of training, evaluation and inference, TorchScript, and an inference on a simulated subject with the
    unzipped archive, from which alone the package may come. When a check fails nothing is written.

    Args:
        names: of the bundles; all of the repository by default.
        repository: the checkout of the project.
        output_dir: folder to write archives to; made when absent.
        source: address of the folder from which the archives will be downloaded, with http or https; that of a tag on
            GitHub ends in OWNER/REPOSITORY/releases/download/TAG. It goes into models/model_info.json of the
            repository, from which MONAI takes versions. Without it that file is left alone.
        schema: a copy of the schema that metadata.json names; it is downloaded by default.
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
    repository, output = Path(repository), Path(output_dir)
    if source is not None and not re.fullmatch(r"https?://[^\s?#]+", source):
        raise ValueError(f"source is {source!r}; give the address of a folder, beginning with https://.")
    # Refused before the work rather than after it.
    for folder in list_bundles(repository, names):
        for ending in ("", "_model_zoo") if model_zoo else ("",):
            path = output / f"{release_key(folder)}{ending}.zip"
            if path.exists() and not overwrite:
                raise FileExistsError(f"{path} exists; choose another output_dir, or replace it by --overwrite.")
    info_path = repository / "models" / "model_info.json"
    info = read_model_info(info_path)
    with build_archives(repository, names, schema) as built, tempfile.TemporaryDirectory() as temporary:
        written = {f"{bundle.key}.zip": bundle.archive for bundle in built}
        if source is not None:
            archives = {bundle.key: bundle.archive for bundle in built}
            info = update_model_info(info, archives, source, info_path, overwrite)
        for bundle in built if model_zoo else ():
            files, downloads = model_zoo_form(bundle.files, bundle.key, source)
            path = Path(temporary, f"{bundle.key}_model_zoo.zip")
            write_archive(files, path, bundle.name)
            written |= {path.name: path} | downloads
        check_writable_directory(output)
        lines = [_publish(path, output / name, overwrite) for name, path in written.items()]
    if source is not None:
        with atomic_path(info_path, overwrite=True) as path:
            path.write_text(json.dumps(info, indent=4) + "\n", encoding="utf-8")
        lines.append(str(info_path))
    return "\n".join(lines)


def _publish(source: Path, path: Path, overwrite: bool) -> str:
    with atomic_path(path, overwrite=overwrite) as temporary:
        shutil.copyfile(source, temporary)
    return f"{path}  {path.stat().st_size / 1e6:.1f} MB  {file_hash(path)}"


@contextmanager
def build_archives(
    repository: str | os.PathLike, names: Sequence[str] = (), schema: str | os.PathLike | None = None
) -> Iterator[list[BuiltBundle]]:
    """Check bundles and build their archives in a temporary folder, which is there as long as the block runs.

    What is in the files is checked for all bundles before the first network is run.

    Args:
        repository: checkout of the project.
        names: of the bundles; none for all.
        schema: MONAI's schema of metadata; it is downloaded when this is ``None``.

    Yields:
        the bundles.

    Raises:
        FileNotFoundError: when a bundle or a file is missing.
        ValueError: when a check fails.
    """
    bundles = list_bundles(repository, tuple(names))
    files = [_checked_files(bundle, Path(repository)) for bundle in bundles]
    check_schema(bundles, None if schema is None else Path(schema))
    with tempfile.TemporaryDirectory(prefix="seq2seq_mri_release_") as folder:
        progress = tqdm(list(zip(bundles, files, strict=True)), unit="bundle", disable=None)
        yield [_build(bundle, content, Path(folder, bundle.name)) for bundle, content in progress]


def _checked_files(bundle: Path, repository: Path) -> dict[str, dict[str, bytes | Path]]:
    """Return the files of a bundle and of those that it needs beside it, by their names."""
    files = {bundle.name: collect_files(bundle, repository)}
    check_metadata(bundle)
    check_documentation(bundle)
    check_weights(bundle / "models" / "model.pt")
    for name in neighbours(bundle):
        try:
            files[name] = collect_files(list_bundles(repository, (name,))[0], repository)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{bundle.name} needs the bundle {name} beside it: {error}") from error
    return files


def _build(bundle: Path, files: Mapping[str, Mapping[str, bytes | Path]], folder: Path) -> BuiltBundle:
    """Build and try the archive of one bundle in ``folder``."""
    key = release_key(bundle)
    # What is beside a bundle is laid beside it here, too.
    staged = folder / "staged"
    for name, contents in files.items():
        for part, content in contents.items():
            path = staged / name / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(read_content(content))
    cohort = simulate_for(staged / bundle.name, folder / "cohort")
    # What is published is what was checked, if a file changes meanwhile.
    published: dict[str, bytes | Path] = {part: staged / bundle.name / part for part in files[bundle.name]}
    examined = folder / "examined"
    arguments = [str(staged / bundle.name), str(cohort), str(examined)]
    run_with(staged / bundle.name, "tools.examine", arguments, (staged / bundle.name, Path(__file__).parents[1]))
    published["models/model.ts"] = examined / "model.ts"
    archive = folder / f"{key}.zip"
    write_archive(published, archive, bundle.name)
    if archive.stat().st_size > _LARGEST_ARCHIVE:
        raise ValueError(f"{key}.zip has {archive.stat().st_size / 2**30:.1f} GiB; a release on GitHub takes 2.")
    unzipped = extract_archive(archive, folder / "unzipped", bundle.name)
    for name in files:
        if name != bundle.name:
            shutil.copytree(staged / name, unzipped.parent / name)
    try_inference(unzipped, cohort)
    return BuiltBundle(bundle.name, key, archive, published)
