# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A bundle's folder, read as ``python -m monai.bundle run`` reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from seq2seq_mri.sequences import check_sequences

__all__ = ["BundleConfiguration"]


class BundleConfiguration:
    """``configs/inference.json`` and ``configs/metadata.json`` of a bundle; its parts are made when first used.

    The SDK's MonaiBundleInferenceOperator reads bundles too, but drops the transform that loads sequences, and with it
    the knowledge which of them are there, and passes images on as uint8.

    Args:
        folder: of the bundle.
        overrides: values for keys of the configuration.

    Raises:
        ValueError: when it is not the folder of a bundle, or an override is no key of the configuration.
    """

    def __init__(self, folder: Path, overrides: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        config = _read_json(folder / "configs" / "inference.json")
        self.metadata = _read_json(folder / "configs" / "metadata.json")
        self.name, self.version = str(self.metadata.get("name")), str(self.metadata.get("version"))
        for key, value in {"bundle_root": str(folder), **(overrides or {})}.items():
            if key not in config:
                raise ValueError(f"The configuration of the bundle {self.name} has no '{key}'.")
            config[key] = value
        self._parser = ConfigParser(config)

    def content(self, key: str, default: Any = None) -> Any:
        """Return what a key of the configuration stands for, such as the transforms of ``"preprocessing"``."""
        return self._parser.get_parsed_content(key) if key in self._parser.config else default

    @cached_property
    def sequences(self) -> dict[str, int]:
        """The sequence table."""
        return check_sequences(self.content("sequences"))

    @cached_property
    def network(self) -> Any:
        """The network with its weights, strictly loaded, in evaluation mode."""
        return self.content("weights").eval()

    def description(self) -> dict[str, str]:
        """Return name, version and the hash of the weights, for reports."""
        weights = Path(self.content("checkpoint"))
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        return {"bundle": self.name, "version": self.version, "weights": weights.name, "weights_sha256": digest}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path.parent.parent} is not the folder of a bundle: cannot read {path}.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a configuration.")
    return content
