# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Reading and writing datalists."""

from __future__ import annotations

import json

import pytest

from seq2seq_mri.io.datalists.datalist import load_datalist, names_in_list, write_datalist

SEQUENCES = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}


@pytest.fixture
def content(tmp_path):
    for name in ("a_t1", "a_t2", "a_t1gd", "a_mask", "b_t1", "c_flair"):
        (tmp_path / f"{name}.nii.gz").touch()
    a = {"t1": "a_t1.nii.gz", "t2": str(tmp_path / "a_t2.nii.gz")}
    masks = {"withheld": {"t1gd": "a_t1gd.nii.gz"}, "unique": {"t1gd": "a_mask.nii.gz"}}
    return {
        "name": "n",
        "sequences": dict(SEQUENCES),
        "training": [{"subject": "a"} | a | masks],
        "validation": [{"subject": "b", "t1": "b_t1.nii.gz"}],
        "testing": [{"subject": "c", "flair": "c_flair.nii.gz"}],
        "empty": [],
    }


def written(tmp_path, content, folder="."):
    path = tmp_path / folder / "datalist.json"
    write_datalist(content, path, overwrite=True)
    return path


def test_paths_become_absolute_and_sections_come_as_asked(tmp_path, content):
    path = written(tmp_path, content)
    (entry,) = load_datalist(path, "training")
    assert entry == {
        "subject": "a",
        "t1": str(tmp_path / "a_t1.nii.gz"),
        "t2": str(tmp_path / "a_t2.nii.gz"),
        "withheld": {"t1gd": str(tmp_path / "a_t1gd.nii.gz")},
        "unique": {"t1gd": str(tmp_path / "a_mask.nii.gz")},
    }
    for sections in (["testing", "validation"], "testing,validation"):
        assert [entry["subject"] for entry in load_datalist(path, sections)] == ["c", "b"]


@pytest.mark.parametrize("label", [1, 0.5, False, {"pcr": 1}, {"pcr": 0, "grade": 2.5}])
def test_series_lesion_patient_and_label(tmp_path, label):
    (tmp_path / "p" / "pre" / "DCE").mkdir(parents=True)
    for name in ("mask", "b0", "b800"):
        (tmp_path / f"{name}.nii.gz").touch()
    frames = ["b0.nii.gz", "b800.nii.gz"]
    entry = {"subject": "p_pre", "patient": "p", "dce": "p/pre/DCE", "dwi": frames, "label": label}
    entry["lesion"] = "mask.nii.gz"
    path = written(tmp_path, {"sequences": {"dce": 2, "dwi": 2}, "training": [entry]})
    (loaded,) = load_datalist(path, "training")
    # A folder of DICOM files is a series, and so is a list of one file for each timepoint; what is no path stays.
    absolute = {"dce": str(tmp_path / "p/pre/DCE"), "dwi": [str(tmp_path / name) for name in frames]}
    assert loaded == entry | absolute | {"lesion": str(tmp_path / "mask.nii.gz")}
    (tmp_path / "p" / "pre" / "DCE").rmdir()
    (tmp_path / "b800.nii.gz").unlink()
    (tmp_path / "mask.nii.gz").unlink()
    (tmp_path / "mask.nii.gz").mkdir()  # a mask is a file
    with pytest.raises(FileNotFoundError, match=r"3 files of[^$]*\n  p_pre: .*DCE\n .*b800.nii.gz\n .*mask.nii.gz"):
        load_datalist(path, "training")


def test_a_patient_belongs_to_one_section(tmp_path, content):
    content["training"][0]["patient"] = content["testing"][0]["patient"] = "p"
    with pytest.raises(ValueError, match="patient p stands in training and, as subject c, in testing; move all"):
        load_datalist(written(tmp_path, content), "validation")
    content["all"] = content.pop("testing")
    assert load_datalist(written(tmp_path, content), "all")


def test_dataset_dir_is_where_relative_paths_start(tmp_path, content, monkeypatch):
    path = written(tmp_path, content, "elsewhere")
    with pytest.raises(FileNotFoundError, match="give dataset_dir"):
        load_datalist(path, "validation")
    expected = [{"subject": "b", "t1": str(tmp_path / "b_t1.nii.gz")}]
    assert load_datalist(path, "validation", tmp_path) == expected
    monkeypatch.chdir(tmp_path)
    assert load_datalist("elsewhere/datalist.json", "validation", ".") == expected


def test_nothing_is_overwritten_unasked(tmp_path, content):
    path = written(tmp_path, content)
    with pytest.raises(FileExistsError, match=r"datalist\.json exists"):
        write_datalist({"sequences": {}}, path)
    assert json.loads(path.read_text()) == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(("", "is not JSON"), ("{", "is not JSON"), ("\u00e4".encode("latin-1"), "is not JSON")),
        *((text, "is not of the form") for text in ("[]", "7", "{}", '{"sequences": ["t1"]}', '{"training": []}')),
    ],
)
def test_no_datalist(tmp_path, text, message):
    path = tmp_path / "datalist.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"datalist\.json {message}"):
        load_datalist(path, "training")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("c_flair.nii.gz", r"testing\[0\] is not of the form"),
        ({"t1": "x"}, r"testing\[0\] is not of the form"),
        ({"subject": 7, "t1": "x"}, r"testing\[0\] is not of the form"),
        ({"subject": "../c", "t1": "x"}, "cannot be the name of a folder"),
        ({"subject": "c", "t1ce": "x"}, "subject c: unknown sequence 't1ce'; the sequence table has t1, t1gd"),
        ({"subject": "c", "t1": "x", "withheld": {"pd": "x"}}, "subject c: withheld: unknown sequence 'pd'"),
        ({"subject": "c", "t1": "x", "unique": {"pd": "x"}}, "subject c: unique: unknown sequence 'pd'"),
        ({"subject": "c", "t1": "x", "withheld": ["t2"]}, "subject c: withheld: not a mapping"),
        ({"subject": "c", "t1": None}, "subject c: t1 is None; give a path"),
        ({"subject": "c", "t1": ["x", 7]}, "subject c: t1 is .*; give a path"),
        ({"subject": "c", "t1": []}, "subject c: t1 is .*; give a path"),
        ({"subject": "c", "t1": "x", "withheld": {"t1": "x"}}, "t1 is both available and withheld"),
        ({"subject": "c", "t1": "x", "lesion": ["m"]}, r"subject c: lesion is \['m'\]; give the path of a mask"),
        ({"subject": "c", "t1": "x", "patient": 7}, "subject c: patient is 7; give the patient's name"),
        ({"subject": "c", "t1": "x", "label": "yes"}, "subject c: label is 'yes'; give a number"),
        ({"subject": "c", "t1": "x", "label": {"pcr": None}}, "subject c: label is {'pcr': None}; give a number"),
        ({"subject": "c", "t1": "x", "label": {}}, "subject c: label is {}; give a number"),
        ({"subject": "c", "t1": "x", "label": float("nan")}, "subject c: label is nan; give a number"),
        ({"subject": "a", "t1": "x"}, "subject a stands twice, in training and in testing"),
    ],
)
def test_wrong_entries(tmp_path, content, entry, message):
    content["testing"] = [entry]
    # Found whatever section is asked for, and without looking at files.
    with pytest.raises(ValueError, match=message):
        load_datalist(written(tmp_path, content), "training")


def test_the_table_of_the_configuration_rules(tmp_path, content):
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match="subject c: unknown sequence 'flair'"):
        load_datalist(path, "training", sequences={"t1": 1, "t1gd": 1, "t2": 1})
    with pytest.raises(ValueError, match="t2 has 1 timepoints, in the sequence table 6"):
        load_datalist(path, "training", sequences={**SEQUENCES, "t2": 6})
    assert load_datalist(path, "training", sequences={**SEQUENCES, "pd": 1})


def test_unknown_and_empty_sections_datalists_and_folders(tmp_path, content):
    path = written(tmp_path, content)
    with pytest.raises(FileNotFoundError, match="python -m seq2seq_mri datalist makes one"):
        load_datalist(tmp_path / "none.json", "training")
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere does not exist"):
        load_datalist(path, "training", tmp_path / "nowhere")
    for unknown in ("test", "name"):
        with pytest.raises(ValueError, match=f"no section '{unknown}'; it has training, validation, testing, empty"):
            load_datalist(path, unknown)
    with pytest.raises(ValueError, match="no subject is in empty"):
        load_datalist(path, "empty")


def test_missing_files_are_listed_together(tmp_path, content):
    content["training"] += [{"subject": f"s{i}", "t1": f"s{i}.nii.gz"} for i in range(12)]
    path = written(tmp_path, content)
    (tmp_path / "a_mask.nii.gz").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_datalist(path, "training")
    message = str(caught.value)
    assert message.startswith("13 files of")
    assert f"\n  a: {tmp_path / 'a_mask.nii.gz'}\n  s0: {tmp_path / 's0.nii.gz'}\n" in message
    assert message.endswith("and 3 more")
    assert len(load_datalist(path, "training", check_files=False)) == 13


def test_a_subject_without_sequences(tmp_path, content):
    content["testing"] = [{"subject": "c", "withheld": {"flair": "c_flair.nii.gz"}}]
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match="subject c has no sequence available"):
        load_datalist(path, "testing")
    assert load_datalist(path, "testing", check_files=False)[0]["subject"] == "c"


def test_names_in_list():
    given = [None, "", "a, b", ["a", 7], ("a",), 101]
    assert [names_in_list(value) for value in given] == [[], [], ["a", "b"], ["a", "7"], ["a"], ["101"]]
