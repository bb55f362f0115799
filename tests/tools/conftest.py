# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A checkout of the project whose bundles have tiny networks, and a server for what is released of it."""

from __future__ import annotations

import functools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from seq2seq_mri.training.checkpoint import save_weights
from tools.archive import write_archive
from tools.release import BuiltBundle

GENERATOR = {"channels": [4, 8], "num_res_blocks": 1, "lstm_layers": 1, "code_channels": 8, "weight_code_channels": 2}
SMALL = {
    "seq2seq_brats": {"slice_size": [40, 48]},
    "seq2seq_breast": {"slice_size": [40, 36], "spacing": [7.0, 7.0, 7.0]},
    "differentiation_classifier": {"spacing": [5.0, 5.0, 5.0], "spatial_size": [33, 40, 32], "widen_factor": 0.0625},
}


def make_bundle(original: Path, bundle: Path, values: dict) -> None:
    shutil.copytree(original, bundle, ignore=shutil.ignore_patterns("models"))
    (bundle / "docs" / "README.md").write_text("# A bundle\n\n![Picture](../../../docs/images/picture.png)\n")
    for name in ("train.json", "inference.json"):
        path = bundle / "configs" / name
        content = json.loads(path.read_text()) | values
        if "channels" in content["network_def"]:
            content["network_def"] |= GENERATOR
        path.write_text(json.dumps(content, indent=4))
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    shape = values.get("spatial_size", values.get("slice_size"))
    for ports in metadata["network_data_format"].values():
        for port in ports.values():
            port["spatial_shape"] = shape if port["spatial_shape"] else []
    path.write_text(json.dumps(metadata, indent=4))
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    save_weights(parser.get_parsed_content("network_def"), bundle / "models" / "model.pt", dtype="bfloat16")


@pytest.fixture(scope="session")
def small_repository(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the packages, and of the bundles with tiny, random networks; not to be changed."""
    folder = tmp_path_factory.mktemp("checkout") / "project"
    torch.manual_seed(0)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(repository / "common", folder / "common", ignore=ignored)
    shutil.copyfile(repository / "setup.cfg", folder / "setup.cfg")
    (folder / "docs" / "images").mkdir(parents=True)
    (folder / "docs" / "images" / "picture.png").write_bytes(b"a picture")
    (folder / "schema.json").write_text('{"type": "object", "required": ["version", "required_packages_version"]}')
    for name, values in SMALL.items():
        make_bundle(repository / "bundles" / name, folder / "bundles" / name, values)
    return folder


@pytest.fixture
def changed_repository(small_repository: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(small_repository, tmp_path / "project"))


@pytest.fixture
def bundle(changed_repository: Path) -> Path:
    """A bundle that may be changed."""
    return changed_repository / "bundles" / "seq2seq_brats"


@pytest.fixture
def built(tmp_path: Path) -> Callable:
    """Stands in for build_archives: one bundle of three small files, of which nothing was checked."""

    @contextmanager
    def build(repository, names, schema) -> Iterator[list[BuiltBundle]]:
        files = {"LICENSE": b"Apache License, Version 2.0", "docs/README.md": b"# A bundle\n", "models/model.pt": b"1"}
        write_archive(files, tmp_path / "a.zip", names[0])
        yield [BuiltBundle(names[0], f"{names[0]}_v0.1.0", tmp_path / "a.zip", files)]

    return build


@pytest.fixture
def serve() -> Iterator:
    """Serves a folder on the loopback interface; returns the address."""
    servers = []

    def start(folder: Path) -> str:
        handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
