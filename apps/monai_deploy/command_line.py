# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What both applications share: their options, finding the bundle, errors in one line, results all or none.

A container's application is started without arguments, so options are read from ``SEQ2SEQ_MRI_OPTIONS`` too.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.deploy.core import AppContext, Application, RuntimeEnv

__all__ = ["Folders", "Options", "find_bundle", "parse", "prepare_package", "run_application"]

_ENVIRONMENT = "SEQ2SEQ_MRI_OPTIONS"
_RULES = Path(__file__).parent / "rules"
_CONFIG = Path("configs", "inference.json")


@dataclass(frozen=True)
class Options:
    """The command line.

    Attributes:
        context: MONAI Deploy's input, output and model paths.
        new_output: whether the output folder was not there before.
        rules: file of rules for series; None: the bundle's.
        sequences: which series or file is which sequence, ``"t1=…,t2=…"``.
        targets: ``"missing"``, ``"all"`` or names with commas between.
        fusion: ``"mean"`` or an adjacency file; None: as the bundle says.
        resample: whether sequences on other grids are resampled to the first.
        overwrite: whether results that exist are replaced.
    """

    context: AppContext
    new_output: bool
    rules: Path | None
    sequences: str | None
    targets: str
    fusion: str | None
    resample: bool
    overwrite: bool

    def rules_of(self, bundle_name: str) -> Path:
        """Return the file of rules: the user's, or that of the bundle's sequences."""
        return self.rules or _RULES / f"{bundle_name}.yaml"

    def overrides(self) -> dict[str, Any]:
        """Return values for the bundle's configuration."""
        return ({"resample": True} if self.resample else {}) | ({"fusion": self.fusion} if self.fusion else {})


@dataclass(frozen=True)
class Folders:
    """Where an application reads and writes.

    Attributes:
        study: a DICOM study, or a folder of NIfTI files.
        links: receives links to the files of series, sorted by sequence.
        results: receives the results, which are published when all are there.
    """

    study: Path
    links: Path
    results: Path


def parse(description: str, synthesis: bool = False, arguments: Sequence[str] | None = None) -> Options:
    """Read the options; a wrong one ends the program with a message and exit code 2.

    Args:
        description: of the application.
        synthesis: whether the options of the synthesis are among them.
        arguments: default: those of the program, after those of the environment.
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("-i", "--input", help="folder of a DICOM study, or of NIfTI files (HOLOSCAN_INPUT_PATH)")
    parser.add_argument("-o", "--output", help="folder for the results (HOLOSCAN_OUTPUT_PATH)")
    parser.add_argument("-m", "--model", help="folder of the bundle, or of several bundles (HOLOSCAN_MODEL_PATH)")
    parser.add_argument("-w", "--workdir", help="MONAI Deploy's working folder")
    parser.add_argument("-l", "--log-level", help="DEBUG, INFO, WARN, ERROR or CRITICAL")
    parser.add_argument("--rules", type=Path, help="file of rules by which series are recognised")
    parser.add_argument(
        "--sequences",
        metavar="t1=SERIES,...",
        help="which series (UID or number) or NIfTI file is which sequence; t1=none: count it as missing",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")
    if synthesis:
        parser.add_argument("--targets", default="missing", help="missing (default), all, or names: t1gd,flair")
        parser.add_argument("--fusion", help="how sources are combined: mean, or an adjacency.csv of an evaluation")
        parser.add_argument("--resample", action="store_true", help="resample series on other grids to the first")
    if arguments is None:
        arguments = [*shlex.split(os.environ.get(_ENVIRONMENT, "")), *sys.argv[1:]]
    given = parser.parse_args(arguments)
    # MONAI Deploy makes the output folder as soon as it reads its options.
    new_output = not Path(given.output or RuntimeEnv().output).exists()
    of_the_sdk = [
        f"--{name}={value}"
        for name in ("input", "output", "model", "workdir", "log-level")
        if (value := getattr(given, name.replace("-", "_"))) is not None
    ]
    return Options(
        context=Application.init_app_context([sys.argv[0], *of_the_sdk]),
        new_output=new_output,
        rules=given.rules,
        sequences=given.sequences,
        targets=getattr(given, "targets", "missing"),
        fusion=getattr(given, "fusion", None),
        resample=getattr(given, "resample", False),
        overwrite=given.overwrite,
    )


def prepare_package(options: Options) -> None:
    """Make the package importable: the one that is installed, or else the copy that a released bundle carries."""
    if importlib.util.find_spec("seq2seq_mri") is not None:
        return
    model = Path(options.context.model_path)
    for folder in (model, *sorted(model.glob("*/"))):
        if (folder / "seq2seq_mri" / "__init__.py").is_file():
            sys.path.insert(0, str(folder))
            return
    sys.exit(
        f"Error: the package seq2seq_mri is neither installed nor in {model}; install it, or give a release by -m."
    )


def find_bundle(model_path: str | os.PathLike, classifier: bool) -> Path:
    """Return the folder of the bundle.

    Args:
        model_path: the bundle, or a folder in which exactly one is of the wanted kind.
        classifier: whether a classifier is wanted, or a generator.

    Raises:
        ValueError: when there is none, or more than one.
    """
    model = Path(model_path)
    wanted = "classifier" if classifier else "generator"
    configs = [model / _CONFIG] if (model / _CONFIG).is_file() else sorted(model.glob(f"*/{_CONFIG}"))
    folders = [config.parent.parent for config in configs]
    found = [folder for folder in folders if _is_classifier(folder / _CONFIG) == classifier]
    if len(found) != 1:
        listed = ", ".join(folder.name for folder in found or folders)
        raise ValueError(
            f"{model} holds {len(found) or 'no'} bundle{'s' if len(found) > 1 else ''} of a {wanted}"
            f"{f' ({listed})' if listed else ''}; give the folder of one by -m, such as bundles/seq2seq_brats."
        )
    return found[0].resolve()


def run_application(
    application: Callable[[Options, Path, Folders], Application], options: Options, classifier: bool
) -> None:
    """Run an application, and put its results where they belong when all is done.

    A user's mistake ends in one line on standard error, exit code 1, and nothing written. MONAI Deploy logs an
    exception of an operator and raises it again from ``run``.

    Args:
        application: makes the application from options, the bundle's folder, and its other folders.
        options: of the command line.
        classifier: which kind of bundle it needs.
    """
    written, message = _attempt(application, options, classifier)
    # Holoscan logs the end of the application when it is destroyed; the message has to come after that.
    gc.collect()
    for path in written:
        print(f"Written: {path}")
    if message:
        sys.exit(f"Error: {message}")


def _attempt(
    application: Callable[[Options, Path, Folders], Application], options: Options, classifier: bool
) -> tuple[list[Path], str]:
    """Return what was written, or the user's mistake."""
    from seq2seq_mri.files import check_writable_directory

    output = Path(options.context.output_path)
    try:
        bundle = find_bundle(options.context.model_path, classifier)
        check_writable_directory(output)
        with (
            tempfile.TemporaryDirectory(prefix="study-") as links,
            tempfile.TemporaryDirectory(dir=output, prefix=".unfinished-") as results,
        ):
            folders = Folders(Path(options.context.input_path), Path(links), Path(results))
            try:
                application(options, bundle, folders).run()
            except (ValueError, OSError, RuntimeError) as error:
                raise _explained(error, folders) from error
            return publish(folders.results, output, options.overwrite), ""
    except BaseException as error:
        if options.new_output:
            shutil.rmtree(output, ignore_errors=True)
        if isinstance(error, (ValueError, OSError)):
            return [], str(error)
        raise


def publish(staging: Path, output: Path, overwrite: bool) -> list[Path]:
    """Move the results to the output folder: files, and folders of series as wholes; return where they are.

    Raises:
        FileExistsError: when one exists and may not be replaced; then none is moved.
    """
    results = sorted(path for path in staging.glob("*/*"))
    targets = [output / path.relative_to(staging) for path in results]
    existing = [target for target in targets if target.exists()]
    if existing and not overwrite:
        raise FileExistsError(f"{existing[0]} exists; give another output folder, or --overwrite.")
    for path, target in zip(results, targets, strict=True):
        target.parent.mkdir(exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)
    return targets


def _explained(error: Exception, folders: Folders) -> Exception:
    """Return the error that MONAI's transforms and configurations wrapped, if it is one of a user; else the first."""
    origin: BaseException = error
    while isinstance(origin, RuntimeError) and origin.__cause__ is not None:
        origin = origin.__cause__
    if not isinstance(origin, (ValueError, OSError)):
        return error
    # The user does not know the folder of links.
    text = str(origin).replace(f"{folders.links}{os.sep}", "")
    return ValueError(" ".join(text.split()))


def _is_classifier(config: Path) -> bool:
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{config} cannot be read as JSON: {error}") from error
    return isinstance(content, dict) and "generator_dir" in content
