"""Model files are whole or absent, and nothing in them runs."""

import copy
import math
import os
import pickle
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import segexp
from segexp import checkpoint
from segexp.errors import InputError
from segexp.model_facts import check_facts
from tests.inference.test_predictor import write_model


def test_round_trip(tmp_path):
    model = write_model(tmp_path / "deep" / "m.pth")
    twin, facts = checkpoint.load_model(tmp_path / "deep" / "m.pth")
    for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert facts["classes"] == ["vesicle"]
    assert not twin.training


def test_a_run_folder_stands_for_its_best_model(tmp_path):
    run = tmp_path / "run"
    checkpoint.save(run / "best_vesicle_model.pth", {"weights": {"w": torch.ones(2)}})
    checkpoint.save(run / "last.pth", {"weights": {"w": torch.zeros(2)}})
    assert torch.equal(checkpoint.load(run)["weights"]["w"], torch.ones(2))
    with pytest.raises(InputError, match=r"holds no best_<task>_model\.pth"):
        checkpoint.load(tmp_path)


def test_a_failed_save_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "m.pth"
    checkpoint.save(path, {"value": 1})

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {"value": 2})
    assert checkpoint.load(path)["value"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["m.pth"]


def test_a_pickle_does_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"format": 1, "model": Attack()}, tmp_path / "torch.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Attack()))
    for name in ("torch.pth", "plain.pth"):
        with pytest.raises(InputError, match=name):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "written").exists()


def test_an_unknown_model_name_is_not_imported(tmp_path):
    write_model(tmp_path / "m.pth")
    content = torch.load(tmp_path / "m.pth", weights_only=True)
    content["model"]["name"] = "os.system"
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"os\.system.*UNet"):
        checkpoint.load_model(tmp_path / "m.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {}}, "not written by segexp"),
        ({"format": 99}, "upgrade"),
        ({"format": 1, "weights": {}}, "holds no model"),
        ([1, 2], "not written by segexp"),
    ],
)
def test_foreign_files(tmp_path, content, words):
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(InputError, match=words):
        checkpoint.load_model(tmp_path / "m.pth")


@pytest.mark.parametrize("data", [b"", b"text", b"PK\x03\x04"])
def test_damaged_files(tmp_path, data):
    (tmp_path / "m.pth").write_bytes(data)
    with pytest.raises(InputError, match=r"m\.pth"):
        checkpoint.load(tmp_path / "m.pth")
    with pytest.raises(InputError, match="no such file"):
        checkpoint.load(tmp_path / "absent.pth")


# damaged and hostile files


def changed(path, change, **more):
    """A model file whose content `change` altered."""
    write_model(path)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path, **more)
    return path


def test_one_flipped_bit_is_refused_or_harmless(tmp_path):
    sound = write_model(tmp_path / "m.pth").state_dict()
    data, rng = (tmp_path / "m.pth").read_bytes(), np.random.default_rng(5)
    outcomes = Counter()
    for _ in range(40):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        (tmp_path / "f.pth").write_bytes(flipped)
        try:
            model, facts = checkpoint.load_model(tmp_path / "f.pth")
        except InputError as error:
            assert "f.pth" in str(error)  # noqa: PT017
            outcomes["refused"] += 1
        else:
            assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in sound.items())
            assert facts["threshold"] == 0.5
            outcomes["harmless"] += 1
    assert outcomes["refused"] > 20


def test_every_flipped_bit_of_the_weights_is_refused(tmp_path):
    write_model(tmp_path / "m.pth")
    data = bytearray((tmp_path / "m.pth").read_bytes())
    with zipfile.ZipFile(tmp_path / "m.pth") as archive:
        archive_bytes = archive.read("archive/data/0")
    data[data.index(archive_bytes) + 5] ^= 1
    (tmp_path / "m.pth").write_bytes(data)
    with pytest.raises(InputError, match=r"m\.pth.*checksum of its member archive/data/\d+ differs"):
        checkpoint.load(tmp_path / "m.pth")


def fill(name, value):
    def change(content):
        key = next(key for key in content["weights"] if key.endswith(name))
        content["weights"][key].flatten()[0] = value

    return change


@pytest.mark.parametrize(
    ("name", "value"),
    [("0.weight", math.nan), ("running_mean", math.inf), ("running_var", -1), ("head.bias", -math.inf)],
)
def test_weights_that_are_no_numbers_are_refused(tmp_path, name, value):
    path = changed(tmp_path / "m.pth", fill(name, value))
    with pytest.raises(InputError, match=rf"m\.pth: \S*{name} holds NaN"):
        checkpoint.load_model(path)
    write_model(tmp_path / "sound.pth")
    with pytest.raises(InputError, match=r"m\.pth: "):
        segexp.load_model([tmp_path / "sound.pth", path], "cpu")


def test_weights_that_overflow_are_refused(tmp_path):
    def grow(content):
        for key, tensor in content["weights"].items():
            if key.endswith("weight"):
                tensor.fill_(1e30)

    with pytest.raises(InputError, match="returns NaN"):
        checkpoint.load_model(changed(tmp_path / "m.pth", grow))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threshold": math.nan}, "threshold is nan"),
        ({"threshold": -1}, "threshold is -1"),
        ({"threshold": 2}, "threshold is 2"),
        ({"threshold": True}, "threshold is True"),
        ({"threshold": "0.5"}, "threshold is '0.5'"),
        ({"min_size": 10**30}, "min_size is 1000"),
        ({"min_size": -1}, "min_size is -1"),
        ({"min_size": 2.5}, "min_size is 2.5"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"temperature": [1]}, r"temperature is \[1\]"),
        ({"classes": "vesicle"}, "classes is 'vesicle'"),
        ({"classes": []}, "classes has 0 names"),
        ({"classes": ["a", "b"]}, "classes has 2 names; its network distinguishes 1"),
        ({"classes": [7]}, r"classes\[0\] is 7"),
        ({"normalization": "none"}, "normalization is 'none'; expected one of standard, log"),
        ({"normalization": None}, "normalization is None"),
        ({"task": "../x"}, "task is '../x'"),
        ({"pixel_size": 0}, "pixel_size is 0"),
        ({"reading": {"page": -3}}, "reading.page is -3"),
        ({"reading": {"masks": ["auto"]}}, "reading.masks"),
        ({"measure": {"split": math.nan}}, "measure.split is nan"),
        ({"measure": {"shape": 1}}, "measure has an unknown entry"),
        ({"metrics": {"dice": "1"}}, "metrics.dice is '1'"),
        ({"versions": [1]}, r"versions is \[1\]"),
        ({"scores": "all"}, "scores is 'all'"),
        ({"model": {"name": "UNet", "settings": {"widths": [4, 8], "kernel_size": 9999}}}, "model.kernel_size=9999"),
        ({"model": {"name": "UNet", "settings": {"widths": [1] * 30}}}, "model.widths="),
        ({"model": {"name": "UNet", "settings": {"widths": [True, 8]}}}, "model.widths="),
        ({"model": {"name": "UNet", "settings": {"widths": [4, 8], "shrink": 10**6}}}, "model.shrink=1000000"),
        ({"model": {"name": "UNet", "settings": {"widths": [4, 8], "norm": 3}}}, "model.norm=3"),
        ({"format": "1"}, "its 'format' is not a number"),
        ({"format": [1]}, "its 'format' is not a number"),
        ({"weights": {"a": 1}}, "some are not tensors"),
        ({"weights": [1]}, r"weights is \[1\]"),
    ],
)
def test_facts_out_of_their_limits_are_named(tmp_path, change, words):
    path = changed(tmp_path / "m.pth", lambda content: content.update(change))
    with pytest.raises(InputError, match=rf"m\.pth: .*{words}"):
        checkpoint.load_model(path)


@pytest.mark.parametrize(
    "name", ["../../x", "a\nb", "<script>", "\x1b[2J", "a" * 101, "", " a", "a.", "a:b", 'a"b', "\u202etxt"]
)
def test_class_names_that_no_file_may_have(tmp_path, name):
    path = changed(tmp_path / "m.pth", lambda content: content.update(classes=[name]))
    with pytest.raises(InputError, match=r"m\.pth: classes\[0\] is .*printable") as error:
        checkpoint.load_model(path)
    assert str(error.value).isprintable()


def test_ordinary_class_names(tmp_path):
    for name in ("vesicle", "früh/spät".replace("/", "-"), "细胞", "α-actinin (z = 3)", "=5"):
        path = changed(tmp_path / "m.pth", lambda content, name=name: content.update(classes=[name]))
        assert checkpoint.load_model(path)[1]["classes"] == [name]


def test_odd_types_in_any_field_end_in_a_message(tmp_path):
    """Every field and every entry inside it, replaced by each of the odd values."""
    odd = [None, True, -1, 10**40, 1e308, math.nan, "", "x" * 10**4, b"x", [], [[]], {}, {1: 2}, {"": []}, (1,)]
    write_model(tmp_path / "m.pth")
    sound = torch.load(tmp_path / "m.pth", weights_only=True)
    sound |= {"min_size": 3, "temperature": 1.5, "pixel_size": 0.1, "metrics": {"dice": 0.5}, "scores": ["object"]}
    sound |= {"reading": {"page": None, "channel": [1]}, "measure": {"kind": "objects", "gap": 2.0}, "tolerance": "2px"}
    places = [(key,) for key in sound if key != "weights"]
    places += [(key, inner) for key in ("model", "reading", "measure", "metrics") for inner in sound[key]]
    places += [("model", "settings", inner) for inner in sound["model"]["settings"]]
    refused = 0
    for place in places:
        for value in odd:
            content = copy.deepcopy(sound)
            node = content
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = value
            try:
                check_facts("m.pth", content)
                checkpoint._model("m.pth", content["model"], content["weights"], ())
            except InputError as error:
                assert "m.pth" in str(error)  # noqa: PT017
                assert len(str(error)) < 500  # noqa: PT017
                refused += 1
    assert refused > 0.85 * len(places) * len(odd)


def test_tensors_that_the_file_does_not_hold_are_refused_before_they_are_made(tmp_path, monkeypatch):
    """15 kB that would unfold to 40 GB."""
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("read before it was verified"))
    expanded = torch.zeros(1).expand(10**5, 10**5)
    torch.save({"format": 1, "weights": {"a": expanded}}, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"m\.pth.*100000x100000 elements that overlap"):
        checkpoint.load(tmp_path / "m.pth")
    many = torch.zeros(1000)
    torch.save({"format": 1, "weights": {str(n): many.view(-1) for n in range(1000)}}, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"m\.pth.*take more than the file holds"):
        checkpoint.load(tmp_path / "m.pth")
    torch.save({"format": 1, "weights": {"a": torch.zeros(10)[::2]}}, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"m\.pth.*gaps"):
        checkpoint.load(tmp_path / "m.pth")


def rewritten(path, change=lambda name, data: data, **more):
    """The archive with its members changed, checksums right."""
    with zipfile.ZipFile(path) as archive:
        members = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", **more) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_compressed_members_are_refused(tmp_path):
    write_model(tmp_path / "m.pth")
    path = rewritten(tmp_path / "m.pth", compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"m\.pth.*its member archive/data\.pkl is compressed"):
        checkpoint.load(path)
    path = rewritten(path, lambda _, data: data + bytes(10**5), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"m\.pth.*are larger than the file"):
        checkpoint.load(path)


@pytest.mark.parametrize("left", [".segexp.jsonl", "last.pth", ".hydra/config.yaml"])
def test_a_run_that_is_named_like_a_shipped_model_is_not_taken_for_it(tmp_path, monkeypatch, left):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vesicle").mkdir()
    assert checkpoint.model_file(Path("vesicle")).is_file()  # a folder of something else
    (tmp_path / "vesicle" / left).parent.mkdir(exist_ok=True)
    (tmp_path / "vesicle" / left).write_bytes(b"")
    with pytest.raises(InputError, match=r"vesicle: holds no best_<task>_model\.pth"):
        checkpoint.model_file(Path("vesicle"))


def test_weights_without_names_are_refused(tmp_path):
    path = changed(tmp_path / "m.pth", lambda content: content.update(weights={1: torch.zeros(1)}))
    with pytest.raises(InputError, match=r"m\.pth: the weights do not fit .* not named by text"):
        checkpoint.load_weights(path)


def test_a_storage_shorter_than_described_is_not_read_past_its_end(tmp_path):
    write_model(tmp_path / "m.pth")
    path = rewritten(tmp_path / "m.pth", lambda name, data: data[:4] if name.endswith("data/0") else data)
    with pytest.raises(InputError, match=r"m\.pth.*data/0 is not as long as data\.pkl says"):
        checkpoint.load(path)


def test_members_in_doubt_are_refused(tmp_path):
    for extra in ("archive/Data.pkl", "other/data.pkl", "archive/../x", "/x", "archive/code/a.py"):
        write_model(tmp_path / "m.pth")
        with zipfile.ZipFile(tmp_path / "m.pth", "a") as archive:
            archive.writestr(extra, b"x")
        with pytest.raises(InputError, match=r"m\.pth"):
            checkpoint.load(tmp_path / "m.pth")


def test_a_refused_file_gives_no_advice_to_switch_the_safety_off(tmp_path):
    torch.save(torch.nn.Conv2d(1, 1, 3), tmp_path / "module.pth")
    torch.save({"format": 1, "x": np.float64(1)}, tmp_path / "numpy.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({"format": 1}))
    for name, words in (("module", "names torch.nn"), ("numpy", "names numpy"), ("bare", "bare pickle")):
        with pytest.raises(InputError, match=words) as error:
            checkpoint.load(tmp_path / f"{name}.pth")
        assert "weights_only" not in str(error.value)
        assert "\n" not in str(error.value)


def test_memory_of_a_description_stays_small(tmp_path):
    """Opcodes that would make a reader take gigabytes: a place in its memory far away, a copy of a copy."""
    for code in (
        b"\x80\x02}r\xff\xff\xff\xff.",
        b"\x80\x02cbuiltins\nbytearray\nI9999999999\n\x85R.",
        b"\x80\x04\x8c\x01a\x93.",
    ):
        write_model(tmp_path / "m.pth")
        path = rewritten(tmp_path / "m.pth", lambda name, data, code=code: code if name.endswith("data.pkl") else data)
        with pytest.raises(InputError, match=r"m\.pth"):
            checkpoint.load(path)
