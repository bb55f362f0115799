# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Every benchmark runs at a tiny size and writes its files; mistakes are refused before anything is measured."""

from __future__ import annotations

import inspect
import json

import pytest
import torch

import loading as loading_module
import memory as memory_module
import precision as precision_module
import subject as subject_module
from forward import forward
from gpu_parts import Setting, write_row
from loading import loading
from memory import memory
from networks import BUNDLE_CONFIG
from on_gpu import SECONDS, on_gpu, table
from precision import precision
from report import command_line
from scaling import AXES, scaling
from seq2seq_mri.training import translation_step
from simulated_subject import write_subject
from subject import subject
from training import NaiveStep, OurStep, random_vgg19, training

PROGRAMS = {
    "forward": forward,
    "subject": subject,
    "training": training,
    "memory": memory,
    "scaling": scaling,
    "precision": precision,
    "loading": loading,
    "on_gpu": on_gpu,
}
TINY = {"size": "tiny", "machine": "here"}


@pytest.fixture
def in_this_process(monkeypatch):
    """Saves the start of a process for each measurement."""
    for module in (subject_module, memory_module, loading_module):
        monkeypatch.setattr(module, "in_fresh_process", lambda function, *arguments: function(*arguments))


def results(folder, stem: str) -> dict:
    assert sorted(path.name for path in folder.iterdir()) == [f"{stem}.json", f"{stem}.png"]
    assert (folder / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / f"{stem}.json").read_text()
    assert str(folder) not in text
    content = json.loads(text)
    assert content["settings"]["size"] == "tiny"
    assert "cpu" in content["machine"]
    return content


def test_forward(tmp_path, capsys) -> None:
    for _ in range(2):  # results of the same name are replaced
        forward(**TINY, image_size=16, rounds=2, output_dir=tmp_path)
    content = results(tmp_path, "here-forward-tiny")
    rows = {(row["variant"], row["part"]): row for row in content["rows"]}
    assert len(rows) == 2 + 4 * 4
    assert rows["naive", "forward"]["ratio"] == 1
    for variant in ("generator", "specialised", "winograd"):
        assert rows[variant, "forward"]["psnr_to_naive"] > 90
        assert rows[variant, "forward"]["gmacs"] < 0.75 * rows["naive", "forward"]["gmacs"]
        parts = sum(rows[variant, part]["gmacs"] for part in ("encode", "unroll", "decode"))
        assert rows[variant, "forward"]["gmacs"] == pytest.approx(parts)
    assert rows["bf16", "forward"]["psnr_to_naive"] > 35
    assert "fraction_of_peak" in capsys.readouterr().out


def test_precision(tmp_path, monkeypatch) -> None:
    """With the bundle's own network and weights, on a small simulated subject."""
    content = json.loads(BUNDLE_CONFIG.read_text())
    (tmp_path / "inference.json").write_text(json.dumps(content | {"slice_size": [32, 32]}))
    monkeypatch.setattr(precision_module, "BUNDLE_CONFIG", tmp_path / "inference.json")
    data = tmp_path / "data"
    data.mkdir()
    entry = write_subject(data, 32, 3)
    del entry["t1gd"], entry["flair"]
    (data / "datalist.json").write_text(json.dumps({"sequences": memory_module.BRAIN, "testing": [entry]}))
    weights = BUNDLE_CONFIG.parents[1] / "models" / "model.pt"
    precision(str(data), checkpoint=str(weights), output_dir=tmp_path / "out", machine="here")
    content = json.loads((tmp_path / "out" / "here-precision.json").read_text())
    winograd, low = content["rows"]
    assert (winograd["variant"], low["variant"], low["pairs"]) == ("winograd", "bf16", 2)
    assert winograd["psnr_least"] > 90
    assert 40 < low["psnr_least"] < 90
    assert 0 < low["largest_change_of_psnr_to_truth"] < 0.1
    assert "patient" not in (tmp_path / "out" / "here-precision.json").read_text()


def test_subject(tmp_path, in_this_process, monkeypatch) -> None:
    written: list[list[str]] = []
    psnr = subject_module._psnr
    monkeypatch.setattr(
        subject_module,
        "_psnr",
        lambda left, right: written.append([path.name for path in right.iterdir()]) or psnr(left, right),
    )
    subject(**TINY, image_size=32, slices=3, output_dir=tmp_path)
    rows = {row["variant"]: row for row in results(tmp_path, "here-subject-tiny-3-slices")["rows"]}
    assert rows["naive"]["ratio"] == 1
    assert rows["fp32"]["psnr_to_naive"] > 90
    assert rows["bf16"]["psnr_to_naive"] > 40
    for row in rows.values():
        stages = sum(row[stage] for stage in ("reading", "network", "maps", "writing"))
        assert row["seconds"] == pytest.approx(stages)
    assert all(len(names) == 16 for names in written)
    assert "t1_to_flair.nii.gz" in written[0]
    assert "t1gd_differentiation.nii.gz" in written[0]


def test_training(tmp_path) -> None:
    training(**TINY, image_size=16, rounds=2, cycle=True, output_dir=tmp_path)
    content = results(tmp_path, "here-training-tiny-cycle")
    assert [row["variant"] for row in content["rows"]] == ["naive", "fp32", "bf16"]
    terms = {"encode", "unroll", "decode", "reconstruction", "perceptual", "backward", "optimizer", "moving average"}
    for costs in content["costs"].values():
        assert terms < set(costs)
        assert min(costs.values()) >= 0


@pytest.mark.parametrize("cycle", [False, True])
def test_both_steps_train_the_same(tmp_path, monkeypatch, cycle) -> None:
    # Weights that make the sum over 4 x 4 pairs the mean over the two of the naive step, and over its one cycle.
    pairs = torch.zeros(2, 4, 4)
    pairs[:, 1, [1, 3]] = 4 * 4 / 2
    between = torch.zeros_like(pairs)
    between[:, 1, 2] = 4 * 4
    monkeypatch.setattr(translation_step, "choose_pairs", lambda *_: pairs)
    monkeypatch.setattr(translation_step, "choose_cycles", lambda *_: between)
    torch.manual_seed(0)
    images, weights = torch.rand(2, 4, 16, 16, 3), random_vgg19(tmp_path)
    naive, ours = (step(memory_module.build_generator("tiny"), images, weights, cycle) for step in (NaiveStep, OurStep))
    expected, found = naive.compute_loss(1, 3, 2), ours.compute_loss()
    torch.testing.assert_close(found, expected)
    expected.backward()
    found.backward()
    gradients = dict(naive.network.named_parameters())
    for name, parameter in ours.network.named_parameters():
        expected_gradient = gradients[name].grad
        # As a whole: single values near zero are rounding, which differs from processor to processor.
        assert (parameter.grad - expected_gradient).norm() <= 1e-3 * expected_gradient.norm(), name


def test_memory(tmp_path, in_this_process) -> None:
    small = {"variants": "naive,bf16", "size_3d": "tiny", "patch_size_3d": 16, "image_size": 32, "slices": 3}
    memory(**TINY, **small, output_dir=tmp_path)
    rows = results(tmp_path, "here-memory-tiny-3-slices")["rows"]
    assert len(rows) == 2 * 2 + (1 + 2) * 2
    assert {row["task"] for row in rows} == {"one missing", "all pairs", "training"}


def test_scaling(tmp_path, monkeypatch) -> None:
    for axis in AXES:
        monkeypatch.setitem(AXES, axis, (2, 3))
    scaling(**TINY, image_size=16, rounds=1, output_dir=tmp_path)
    rows = results(tmp_path, "here-scaling-tiny")["rows"]
    assert len(rows) == 4 * 2 * 3
    assert all(row["ratio"] == 1 for row in rows if row["variant"] == "naive")


def test_loading(tmp_path, in_this_process) -> None:
    small = {"subjects": 5, "shape": (30, 34, 20), "slice_size": (24, 32), "batch_size": 4, "unprepared": 2}
    loading(**small, workers=1, rounds=1, output_dir=tmp_path, machine="here")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here-loading.json", "here-loading.png"]
    text = (tmp_path / "here-loading.json").read_text()
    assert str(tmp_path) not in text
    content = json.loads(text)
    assert [row["slices"] for row in content["rows"]] == [8, 20, 20, 20]
    assert content["rows"][0]["variant"] == "each subject in each epoch"
    assert all(row["slices_per_second"] > 0 for row in content["rows"])
    assert content["preparation"]["subjects"] == 9
    assert content["preparation"]["megabytes_per_subject"] > 0
    assert content["validation"]["seconds_per_subject"] > 0


def test_on_gpu_rehearsed(tmp_path, capsys) -> None:
    (tmp_path / "rows.jsonl").write_text("of an earlier run")
    on_gpu(str(tmp_path), device="cpu", rehearse=True, only="machine")
    text = (tmp_path / "table.txt").read_text()
    assert text in capsys.readouterr().out
    assert any(line.startswith("machine") and "matrix product, bfloat16" in line for line in text.splitlines())
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {row["part"] for row in rows} == {"machine"}
    assert not any(row.get("reached") is False for row in rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "rows.jsonl", "table.txt"]


def test_the_table_of_the_gpu(tmp_path) -> None:
    setting = Setting("cpu", True, str(tmp_path), str(tmp_path))
    write_row(setting, "steps", "plain", "slices/s", by_batch={1: 10.0, 64: 123.456}, value=123.456)
    write_row(setting, "steps", "ratio", "x", value=4.5, target=">= 5", reached=False)
    write_row(setting, "tests", "3 failed", reached=False)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    head, plain, ratio, failed = table(rows).splitlines()
    assert plain.split() == ["steps", "plain", "slices/s", "10", "123.5", "123.5"]
    assert plain.index("123.5") == head.index("64")
    assert ratio.split() == ["steps", "ratio", "x", "4.5", ">=", "5", "NOT", "REACHED"]
    assert failed.endswith("FAILED")
    assert sum(SECONDS.values()) <= 8 * 60


MISTAKES = [
    ({"size": "huge"}, "give one of published, bundle, tiny"),
    ({"device": "tpu"}, "give cpu or cuda"),
    ({"variants": "naive,quick"}, "variants is 'naive,quick'; give one or more of naive"),
    ({"image_size": 30}, "give a multiple of 4"),
    ({"machine": "a/b"}, "machine is 'a/b'"),
    ({"rounds": 0}, "rounds is 0"),
    ({"slices": 0}, "slices is 0"),
    ({"axes": "depth"}, "axes is 'depth'; give one or more of slices"),
    ({"parts": "everything"}, "parts is 'everything'"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"processes": 0}, "processes is 0"),
    ({"only": "everything"}, "only is 'everything'"),
    ({"skip": "nothing"}, "skip is 'nothing'"),
]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (name, options, message)
        for name, program in PROGRAMS.items()
        for options, message in MISTAKES
        if set(options) <= set(inspect.signature(program).parameters)
    ],
)
def test_a_mistake_is_refused_at_once(tmp_path, name, options, message) -> None:
    given = {**TINY, "output_dir": tmp_path, "dataset_dir": "nowhere", **options}
    with pytest.raises(ValueError, match=message):
        PROGRAMS[name](
            **{key: value for key, value in given.items() if key in inspect.signature(PROGRAMS[name]).parameters}
        )
    assert not list(tmp_path.iterdir())


def test_winograd_is_measured_by_direct_convolutions(tmp_path) -> None:
    with pytest.raises(ValueError, match="add specialised to the variants"):
        forward(**TINY, image_size=16, variants="winograd", output_dir=tmp_path)


@pytest.fixture
def run(typed):
    """Runs a program's command line; returns exit code, standard output and standard error."""
    return lambda name, *arguments: typed(lambda: command_line(PROGRAMS[name]), f"{name}.py", *arguments)


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_explains_every_option(run, name) -> None:
    code, output, errors = run(name, "--help")
    assert code == 0
    text = " ".join((output + errors).split())
    documentation = inspect.getdoc(PROGRAMS[name])
    for option, parameter in inspect.signature(PROGRAMS[name]).parameters.items():
        assert (option.upper() if parameter.default is parameter.empty else f"--{option}=") in text
        explanation = documentation.split(f"\n    {option}: ")[1].splitlines()[0]
        assert " ".join(explanation.split()) in text


def test_a_mistake_gives_one_line_and_a_misspelt_option_does_nothing(run, tmp_path) -> None:
    code, output, errors = run("forward", "--size", "huge", "--output_dir", str(tmp_path))
    assert (code, output) == (1, "")
    assert errors == "Error: size is 'huge'; give one of published, bundle, tiny.\n"
    code, output, _ = run("forward", "--size", "tiny", "--output_dir", str(tmp_path), "--round", "3")
    assert (code, output) == (2, "")
    assert not list(tmp_path.iterdir())
