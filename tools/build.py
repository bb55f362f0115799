# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Building the archives of a release, none of which is written before everything has been checked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tools.archive import extract_archive, write_archive
from tools.bundle_files import collect_files, list_bundles, neighbours
from tools.checks import check_documentation, check_metadata, check_schema, check_weights, release_key
from tools.isolation import interpreter_of, run_isolated
from tools.trial import simulate_for, try_inference

__all__ = ["BuiltBundle", "build_archives"]

# GitHub takes no larger file into a release.
_LARGEST_ARCHIVE = 2 * 2**30
_STEPS = 3


@dataclass(frozen=True)
class BuiltBundle:
    """A bundle of which all has been checked.

    Attributes:
        name: of the bundle.
        version: X.Y.Z.
        archive: the zip file, in a temporary folder.
        files: what is in it, by path within the bundle.
    """

    name: str
    version: str
    archive: Path
    files: dict[str, bytes | Path]

    @property
    def key(self) -> str:
        """``NAME_vX.Y.Z``."""
        return f"{self.name}_v{self.version}"


@contextmanager
def build_archives(
    repository: Path, names: Sequence[str] = (), schema: Path | None = None, environment: str = "this"
) -> Iterator[list[BuiltBundle]]:
    """Check bundles and build their archives in a temporary folder, which is there as long as the block runs.

    What is in the files is checked for all bundles before the first network is run.

    Args:
        repository: checkout of the project.
        names: of the bundles; none for all.
        schema: MONAI's schema of metadata; it is downloaded when this is ``None``.
        environment: of the trial, see :func:`interpreter_of`.

    Yields:
        the bundles.

    Raises:
        FileNotFoundError: when a bundle or a file is missing.
        ValueError: when a check fails.
    """
    bundles = list_bundles(repository, tuple(names))
    files = {bundle.name: _checked_files(bundle, repository) for bundle in bundles}
    check_schema(bundles, schema)
    with tempfile.TemporaryDirectory(prefix="seq2seq_mri_release_") as temporary:
        folder = Path(temporary)
        requirements = folder / "requirements.txt"
        requirements.write_bytes(_content(files[bundles[0].name]["requirements.txt"]))
        python = interpreter_of(environment, requirements, folder / "environment")
        built = []
        with tqdm(total=len(bundles) * _STEPS, unit="step", disable=None) as progress:

            @contextmanager
            def step(description: str) -> Iterator[None]:
                progress.set_description(description)
                yield
                progress.update()

            for bundle in bundles:
                built.append(_build(bundle, files[bundle.name], repository, folder / bundle.name, python, step))
        yield built


def _checked_files(bundle: Path, repository: Path) -> dict[str, bytes | Path]:
    files = collect_files(bundle, repository)
    check_metadata(bundle)
    check_documentation(bundle)
    check_weights(bundle / "models" / "model.pt")
    for name in neighbours(bundle):
        _checked_neighbour(name, bundle, repository)
    return files


def _checked_neighbour(name: str, bundle: Path, repository: Path) -> dict[str, bytes | Path]:
    try:
        return collect_files(list_bundles(repository, (name,))[0], repository)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{bundle.name} needs the bundle {name} beside it: {error}") from error


def _build(
    bundle: Path,
    files: dict[str, bytes | Path],
    repository: Path,
    folder: Path,
    python: str,
    step: Callable[[str], AbstractContextManager],
) -> BuiltBundle:
    """Build and try the archive of one bundle in ``folder``."""
    key = release_key(bundle)
    with step(f"{bundle.name}: files"):
        # What is beside a bundle is laid beside it here, too.
        staged = folder / "staged"
        staged_bundle = _lay_out(files, staged / bundle.name)
        for name in neighbours(bundle):
            _lay_out(_checked_neighbour(name, bundle, repository), staged / name)
        cohort = simulate_for(bundle, folder / "cohort")
        # What is published is what was checked, if a file changes meanwhile.
        published: dict[str, bytes | Path] = {name: staged_bundle / name for name in files}
    with step(f"{bundle.name}: examination"):
        examined = folder / "examined"
        command = ["-m", "tools.examine", str(staged_bundle), str(cohort), str(examined)]
        run_isolated(command, staged_bundle, "The examination")
        published["models/model.ts"] = examined / "model.ts"
    with step(f"{bundle.name}: inference"):
        archive = folder / f"{key}.zip"
        write_archive(published, archive, bundle.name)
        if archive.stat().st_size > _LARGEST_ARCHIVE:
            raise ValueError(f"{key}.zip has {archive.stat().st_size / 2**30:.1f} GiB; a release on GitHub takes 2.")
        unzipped = extract_archive(archive, folder / "unzipped", bundle.name)
        for name in neighbours(bundle):
            shutil.copytree(staged / name, unzipped.parent / name)
        try_inference(unzipped, cohort, python)
    return BuiltBundle(bundle.name, key.rsplit("_v", 1)[1], archive, published)


def _lay_out(files: dict[str, bytes | Path], folder: Path) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_content(content))
    return folder


def _content(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()
