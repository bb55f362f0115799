# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Running commands as somebody does who has an unzipped bundle and packages of PyPI, but not this package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools import isolated_import

__all__ = ["interpreter_of", "isolated_environment", "make_environment", "run_isolated"]

_SHOWN_LINES = 15
# What would bring modules from elsewhere.
_REMOVED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")


def isolated_environment(bundle: Path, folder: Path, importable: bool = True) -> dict[str, str]:
    """Return environment variables with which Python takes seq2seq_mri from ``bundle``, or not at all.

    Packages of the interpreter are there as usual.

    Args:
        bundle: folder of an unzipped bundle.
        folder: an empty or new folder for what this needs; ``folder/record`` will list the files from which the package
            was imported, one line for each process.
        importable: whether ``bundle`` is in the search path from the start; ``monai.bundle run`` puts it there itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(isolated_import.__file__, folder / "sitecustomize.py")
    kept = {name: value for name, value in os.environ.items() if name not in _REMOVED}
    return kept | {
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, (folder, bundle) if importable else (folder,))),
        "PYTHONNOUSERSITE": "1",
        # The bundle stays as it was unzipped.
        "PYTHONDONTWRITEBYTECODE": "1",
        # torch.jit writes constants in the order of a set.
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "Agg",
        isolated_import.FOLDER_VARIABLE: os.path.abspath(bundle),
        isolated_import.RECORD_VARIABLE: os.path.abspath(folder / "record"),
    }


def run_isolated(
    arguments: Sequence[str], bundle: Path, what: str, python: str = sys.executable, importable: bool = True
) -> str:
    """Run ``python ARGUMENTS`` in an empty folder, where seq2seq_mri can only come from ``bundle``.

    Args:
        arguments: of the interpreter.
        bundle: folder of an unzipped bundle.
        what: what is done, for messages.
        python: the interpreter.
        importable: see :func:`isolated_environment`.

    Returns:
        what it printed.

    Raises:
        ValueError: when it fails, with the end of what it printed, or has not used the package.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "isolation")
        environment = isolated_environment(bundle, folder, importable)
        elsewhere = Path(temporary, "elsewhere")
        elsewhere.mkdir()
        done = subprocess.run(
            [python, *arguments],
            cwd=elsewhere,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            shown = "\n".join(done.stdout.rstrip().splitlines()[-_SHOWN_LINES:])
            raise ValueError(f"{what} failed with the unzipped {bundle.name} (exit code {done.returncode}):\n{shown}")
        record = folder / "record"
        origins = set(record.read_text(encoding="utf-8").splitlines()) if record.is_file() else set()
        expected = str(Path(bundle, "seq2seq_mri", "__init__.py").resolve())
        if {os.path.realpath(origin) for origin in origins} != {expected}:
            raise ValueError(f"{what} took seq2seq_mri from {sorted(origins) or 'nowhere'} instead of {expected}.")
    return done.stdout


def interpreter_of(environment: str, requirements: Path, folder: Path) -> str:
    """Return the interpreter that the option ``environment`` names.

    Args:
        environment: ``"this"``, ``"clean"`` for a new virtual environment, or the path of an interpreter.
        requirements: of the new environment.
        folder: where to make it.

    Raises:
        FileNotFoundError: when there is no such interpreter.
    """
    if environment == "this":
        return sys.executable
    if environment == "clean":
        return make_environment(requirements, folder)
    found = shutil.which(os.path.expanduser(environment))
    if found is None:
        raise FileNotFoundError(
            f"environment is {environment!r}; give 'this', 'clean', or the path of a Python interpreter."
        )
    # Absolute, for it runs in another folder; not resolved, for a virtual environment is known by its link.
    return os.path.abspath(found)


def make_environment(requirements: Path, folder: Path) -> str:
    """Make a virtual environment with the packages of a file, from PyPI, and return its interpreter.

    Raises:
        ValueError: when that fails.
    """
    python = str(folder / "bin" / "python")
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--quiet", "--requirement", str(requirements)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shown = "\n".join((done.stdout + done.stderr).rstrip().splitlines()[-_SHOWN_LINES:])
            raise ValueError(f"No environment could be made from PyPI ({' '.join(command)}):\n{shown}")
    return python
