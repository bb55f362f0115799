# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Runs commands of ``python -m monai.bundle`` one after the other, having imported MONAI once.

``python run_commands.py FILE``: FILE is a JSON list of ``{"arguments": [...], "cwd": ..., "environment": {...}}``. Each
command runs in a process that is forked before seq2seq_mri is imported. The exit code is the number of failures.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from pathlib import Path

import ignite.engine
import monai.bundle


def run(command: dict) -> None:
    """Run a command as a new interpreter would."""
    os.chdir(command["cwd"])
    os.environ.update(command["environment"])
    # Where PYTHONPATH and "-m" put their folders.
    paths = command["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [command["cwd"], *filter(None, paths), *sys.path[1:]]
    sys.argv = ["monai.bundle", *command["arguments"]]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


def main() -> None:
    """Run all commands."""
    assert ignite.engine
    assert monai.bundle
    assert "seq2seq_mri" not in sys.modules
    failures = 0
    for command in json.loads(Path(sys.argv[1]).read_text()):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run(command)
                code = 0
            except SystemExit as exit:
                code = 0 if exit.code in (None, 0) else 1
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        failures += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    sys.exit(failures)


if __name__ == "__main__":
    main()
