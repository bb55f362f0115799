# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Checks of a bundle's files before a release is built: metadata, documentation, MONAI's schema, weights.

Every check raises a ValueError that says what is wrong.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

import torch
from monai.bundle import verify_metadata

from seq2seq_mri.training.checkpoint import read_checkpoint

__all__ = ["check_documentation", "check_metadata", "check_schema", "check_weights", "release_key"]

_PLACEHOLDER = re.compile(r"^[A-Z]+(_[A-Z]+)+$", flags=re.MULTILINE)
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def release_key(bundle: Path) -> str:
    """Return ``NAME_vX.Y.Z`` of a bundle, from its metadata."""
    metadata = _read(bundle / "configs" / "metadata.json")
    return f"{metadata['name']}_v{metadata['version']}"


def check_metadata(bundle: Path) -> None:
    """Check the name, the version and the ports of a bundle, and that all its configurations are JSON."""
    for config in sorted((bundle / "configs").glob("*.json")):
        _read(config)
    path = bundle / "configs" / "metadata.json"
    metadata = _read(path)
    name, version = metadata.get("name"), metadata.get("version")
    if name != bundle.name:
        raise ValueError(f"{path} names the bundle {name!r}, but its folder is {bundle.name}.")
    if not re.fullmatch(r"\w+", bundle.name) or "_v" in bundle.name:
        raise ValueError(f"The bundle's name {bundle.name} must have letters, digits and _ only, and no '_v'.")
    if not _VERSION.fullmatch(str(version)):
        raise ValueError(f"{path} has the version {version!r}; give three numbers, as in 0.1.0.")
    if version not in metadata.get("changelog", {}):
        raise ValueError(f"{path} has the version {version}, of which its changelog says nothing.")
    data_format = metadata.get("network_data_format", {})
    for ports, first in (("inputs", "image"), ("outputs", "pred")):
        if next(iter(data_format.get(ports, {})), None) != first:
            raise ValueError(f"{path}: the first of the {ports} in network_data_format must be '{first}'.")


def check_documentation(bundle: Path) -> None:
    """Check that no line of the documentation is only a name in capital letters, where a text was to come."""
    for path in sorted((bundle / "docs").glob("*.md")):
        if found := _PLACEHOLDER.search(path.read_text(encoding="utf-8")):
            raise ValueError(f"{path} has the line {found[0]}, where something is still missing.")


def check_schema(bundles: Sequence[Path], schema: Path | None) -> None:
    """Check the metadata of bundles against MONAI's schema, which is downloaded once unless a file is given."""
    if schema is not None and not schema.is_file():
        raise FileNotFoundError(f"The schema {schema} does not exist or is not a file.")
    with tempfile.TemporaryDirectory() as folder:
        for bundle in bundles:
            metadata = bundle / "configs" / "metadata.json"
            # verify_metadata downloads to this file unless it is there.
            local = Path(folder, Path(str(_read(metadata).get("schema"))).name)
            if schema is not None and not local.is_file():
                shutil.copyfile(schema, local)
            try:
                verify_metadata(meta_file=str(metadata), filepath=str(local))
            except URLError as error:
                raise ValueError(
                    f"The schema that {metadata} names could not be downloaded ({error.reason}); "
                    "give a copy by --schema."
                ) from error
            except ValueError as error:
                raise ValueError(f"{metadata} does not fit the schema: {error}") from error


def check_weights(path: Path) -> None:
    """Check that a file has nothing but weights, all finite."""
    for name, value in read_checkpoint(path).items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(
                f"{path} has '{name}', which is no tensor; publish plain weights: the state dict of the network."
            )
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{path} has values in '{name}' that are not finite.")


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a JSON object.")
    return content
