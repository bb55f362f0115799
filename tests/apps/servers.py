# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Servers on the loopback interface, for as long as a test needs them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

__all__ = ["ask", "free_port", "running", "start_orthanc", "wait_until"]

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(url: str, method: str = "GET", **options: object) -> requests.Response:
    """Send a request, and wait for as long as an inference may take."""
    return requests.request(method, url, timeout=1800, **options)


def wait_until(condition: Callable[[], bool], otherwise: str, seconds: float = 60) -> None:
    """Wait for something that a server does in its own time.

    Raises:
        TimeoutError: with ``otherwise`` as message, when it does not happen.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.1)


@contextmanager
def running(
    command: Sequence[str], url: str, log: Path, *, seconds: float = 300, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a server until the block ends; it begins when ``url`` answers.

    Raises:
        RuntimeError: when it ends or does not answer in time; with what it has printed.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command), stdout=output, stderr=subprocess.STDOUT, env=os.environ | dict(environment or {})
        )
    try:
        deadline = time.monotonic() + seconds
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not answer:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def start_orthanc(folder: Path) -> Iterator[str]:
    """Run Orthanc with its DICOMweb plugin and an empty database; gives its URL."""
    port = free_port()
    configuration = {
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    url = f"http://127.0.0.1:{port}"
    with running(["Orthanc", str(path)], f"{url}/system", folder / "orthanc.log", seconds=60):
        yield url


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=30).ok
    except requests.RequestException:
        return False
