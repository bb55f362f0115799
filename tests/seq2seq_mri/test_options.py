# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Options of command lines: what a user types means what it says, or is refused by its name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from monai.bundle import ConfigWorkflow, run

from seq2seq_mri.command_line import run_command_line
from seq2seq_mri.options import option_value, schema_of

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
SEEN: dict[str, Any] = {}
CONFIG = {
    "resume": False,
    "resample": True,
    "max_epochs": 3,
    "fraction": 0.5,
    "targets": "missing",
    "output_dir": "output",
    "gradient_clip": 1.0,
    "autocast_dtype": None,
    "labels": None,
    "section": "testing",
    "class_weights": "balanced",
    "shares": [0.5, 0.5],
    "sequences": {"t1": 1},
    "device": "$'cpu'",
    "loader": {"_target_": "dict", "batch_size": 1, "shuffle": False},
    "steps": [{"_target_": "dict", "prob": 0.5}, "@loader"],
}


@pytest.fixture
def config(tmp_path, monkeypatch) -> Path:
    """A configuration whose run writes down what its options are."""
    monkeypatch.setattr("sys.excepthook", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    seen = f"{{{', '.join(f'{name!r}: @{name}' for name in CONFIG)}}}"
    content = {
        "imports": ["$import json", "$import pathlib", "$import seq2seq_mri.bundle as bundle"],
        "run": ["$bundle.begin()", f"$pathlib.Path('seen.json').write_text(json.dumps({seen}))"],
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG | content))
    return path


def seen(*configs: Path, **options: Any) -> dict[str, Any]:
    """Return what options are in a run."""
    run("run", config_file=[str(config) for config in configs], **options)
    return json.loads(configs[0].with_name("seen.json").read_text())


def refusal(call: Callable, *args: Any, **options: Any) -> str:
    """Return the message of the ValueError that MONAI's parser has wrapped."""
    with pytest.raises(RuntimeError) as caught:
        call(*args, **options)
    error: BaseException | None = caught.value
    while isinstance(error, RuntimeError):
        error = error.__cause__
    assert isinstance(error, ValueError)
    return str(error)


@pytest.mark.parametrize(
    ("name", "typed", "meant"),
    [
        ("resume", "false", False),
        ("resume", "True", True),
        ("resume", True, True),
        ("resample", "no", False),
        ("resample", "OFF", False),
        ("max_epochs", 7, 7),
        ("fraction", 1, 1),
        ("targets", ("t1", "t2"), ["t1", "t2"]),
        ("targets", "all", "all"),
        ("output_dir", 2024, "2024"),
        ("gradient_clip", "null", None),
        ("gradient_clip", 2, 2),
        ("autocast_dtype", "bfloat16", "bfloat16"),
        ("labels", "labels.csv", "labels.csv"),
        ("shares", (0.1, 0.9), [0.1, 0.9]),
        ("sequences", {"t2": 1}, {"t2": 1}),
        ("device", "cuda:1", "cuda:1"),
        ("section", ("training", "testing"), ["training", "testing"]),
        ("section", "testing", "testing"),
        ("class_weights", "null", None),
        ("class_weights", [1, 2.5], [1, 2.5]),
        ("gradient_clip", None, None),
        ("resume", "$1 == 1", True),
        ("loader#batch_size", 4, {"batch_size": 4, "shuffle": False}),
        ("loader#shuffle", "yes", {"batch_size": 1, "shuffle": True}),
        ("loader#new", 1, {"batch_size": 1, "shuffle": False, "new": 1}),
        ("steps#0#prob", 1, [{"prob": 1}, {"batch_size": 1, "shuffle": False}]),
    ],
)
def test_options_of_a_run_have_the_type_of_their_default(config, name, typed, meant) -> None:
    found = seen(config, **{name: typed})[name.split("#")[0]]
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("name", "typed", "possible"),
    [
        ("resume", "maybe", "give true or false"),
        ("resume", 1, "give true or false"),
        ("resume", "", "give true or false"),
        ("max_epochs", 0, "give a whole number of at least 1"),
        ("max_epochs", 2.5, "give a whole number of at least 1"),
        ("max_epochs", True, "give a whole number of at least 1"),
        ("max_epochs", "ten", "give a whole number of at least 1"),
        ("fraction", "half", "give a number"),
        ("fraction", math.nan, "give a number"),
        ("targets", [], "give missing, all, a name or a list of names"),
        ("targets", [1], "give missing, all, a name or a list of names"),
        ("output_dir", ["a"], "give a text"),
        ("gradient_clip", -1, "give a positive number, or null"),
        ("gradient_clip", math.inf, "give a positive number, or null"),
        ("class_weights", "heavy", "give balanced, a weight for each class in a list, or null"),
        ("autocast_dtype", "bf16", "give null, bfloat16 or float16"),
        ("shares", 0.5, "give a list"),
        ("sequences", "t1", "give a mapping"),
        ("loader#batch_size", 0, "give a whole number of at least 1"),
        ("overwite", True, "There is no option --overwite"),
        ("resme", True, "did you mean --resume"),
    ],
)
def test_wrong_options_of_a_run_are_refused_by_name(config, name, typed, possible) -> None:
    message = refusal(run, "run", config_file=str(config), **{name: typed})
    assert f"--{name}" in message
    assert possible in message
    assert not config.with_name("seen.json").exists()


def test_of_several_files_the_last_says_the_default(config) -> None:
    overlay = config.with_name("overlay.json")
    overlay.write_text(json.dumps({"labels": False}))
    assert seen(config, overlay, labels="no")["labels"] is False


def test_options_beside_a_file_of_arguments(config) -> None:
    arguments = config.with_name("arguments.json")
    arguments.write_text(json.dumps({"config_file": str(config), "max_epochs": 5}))
    run("run", args_file=str(arguments), resume="true")
    found = json.loads(config.with_name("seen.json").read_text())
    assert (found["max_epochs"], found["resume"]) == (5, True)


def test_a_workflow_made_in_python_is_left_as_it_is(config) -> None:
    workflow = ConfigWorkflow(str(config), logging_file=False, max_epochs=0)
    workflow.initialize()
    workflow.run()
    assert json.loads(config.with_name("seen.json").read_text())["max_epochs"] == 0


@pytest.mark.parametrize(
    ("files", "run_id"),
    [
        (["seq2seq_brats/configs/train.json"], "training"),
        (["seq2seq_brats/configs/train.json", "seq2seq_brats/configs/multi_gpu_train.json"], "training"),
        (["seq2seq_brats/configs/train.json", "seq2seq_brats/configs/evaluate.json"], "evaluating"),
        (["seq2seq_brats/configs/inference.json"], "inference"),
        (["seq2seq_breast/configs/train.json", "seq2seq_breast/configs/volumes.json"], "training"),
        (["seq2seq_breast/configs/inference.json"], "inference"),
        (["differentiation_classifier/configs/train.json"], "training"),
        (["differentiation_classifier/configs/train.json", "differentiation_classifier/configs/mgmt.json"], "training"),
        (["differentiation_classifier/configs/alphabet_generator.json"], "training"),
        (["differentiation_classifier/configs/inference.json"], "inference"),
    ],
)
def test_every_bundle_checks_its_options(monkeypatch, tmp_path, files, run_id) -> None:
    monkeypatch.setattr("sys.excepthook", lambda *_: None)
    configs = [str(BUNDLES / file) for file in files]
    message = refusal(run, run_id, config_file=configs, output_dir=str(tmp_path / "out"), seed="one")
    assert message == "The option --seed is 'one'; give a whole number of at least 0."
    assert not (tmp_path / "out").exists()


@dataclass
class Command:
    """A command.

    Args:
        output_dir: a folder.
        overwrite: whether.
        count: how many.
        spacing: of voxels.
        mode: which.
    """

    output_dir: str
    overwrite: bool = False
    count: int | None = None
    spacing: float | Sequence[float] = 1.0
    mode: Literal["fast", "slow"] = "fast"

    def __call__(self) -> None:
        SEEN.update(vars(self))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--overwrite false", {"overwrite": False}),
        ("--overwrite", {"overwrite": True}),
        ("--overwrite yes", {"overwrite": True}),
        ("--count 3 --spacing 2", {"count": 3, "spacing": 2}),
        ("--count none --spacing 1,2,3", {"count": None, "spacing": [1, 2, 3]}),
        ("--mode slow", {"mode": "slow"}),
    ],
)
def test_options_of_a_command_have_the_types_of_its_arguments(monkeypatch, typed, meant) -> None:
    SEEN.clear()
    monkeypatch.setattr("sys.argv", ["program", "make", "7", *typed.split()])
    run_command_line({"make": Command}, "program")
    assert SEEN["output_dir"] == "7"
    assert {name: SEEN[name] for name in meant} == meant


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--overwrite maybe", "The option --overwrite is 'maybe'; give true or false."),
        ("--count 2.5", "The option --count is 2.5; give a whole number or null."),
        ("--spacing wide", "The option --spacing is 'wide'; give a number or a list."),
        ("--mode middling", "The option --mode is 'middling'; give fast or slow."),
    ],
)
def test_wrong_options_of_a_command_end_in_one_line(monkeypatch, typed, message) -> None:
    SEEN.clear()
    monkeypatch.setattr("sys.argv", ["program", "make", "folder", *typed.split()])
    with pytest.raises(SystemExit, match=r"^Error: ") as caught:
        run_command_line({"make": Command}, "program")
    assert str(caught.value) == f"Error: {message}"
    assert not SEEN


def test_what_a_type_hint_does_not_say_may_be_anything() -> None:
    for hint in (Any, None | object, "text", dict[str, int] | object):
        assert option_value("x", object, schema_of(hint)) is object
