# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The workflow that publishes a release calls the command as it is."""

from __future__ import annotations

import inspect
import re

import yaml

from tools.release import release


def test_options_exist(repository) -> None:
    workflow = yaml.safe_load((repository / ".github" / "workflows" / "release.yml").read_text())
    scripts = [step.get("run", "") for step in workflow["jobs"]["release"]["steps"]]
    (command,) = (script for script in scripts if "tools release" in script)
    options = re.findall(r"--(\w+)", command)
    assert options
    assert set(options) <= set(inspect.signature(release).parameters)
    # no value from outside is pasted into a script
    assert not any("${{" in script for script in scripts)
