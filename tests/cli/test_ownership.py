"""Files of somebody else in the output folder of every command: untouched when it succeeds, is refused, or dies."""

import hashlib

import numpy as np
import pytest

from segexp.io.ownership import LOCK, RECORD
from tests.cli.test_predict import KILLED
from tests.data.broken import write_sound
from tests.inference.test_predictor import write_model
from tests.processes import command
from tests.report.folders import write_run
from tests.test_cli import run

NAMES = """d_mask.png
d_mask.tif d_prob.tif d_overlay.png d_labels.tif d_rois.zip d.geojson d_measurements.csv images.csv
measurements.csv scores.csv scores.json pictures.json report.html train/img/vesicle_00000.tif val/mask/mine.npy
train/notes.txt c.html c.json m.pt m.pt2 p.png .segexp.bak notes.txt é.csv metrics.csv""".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house")
    write_sound(folder / "data")
    write_model(folder / "m.pth")
    write_run(folder / "run")
    return folder


def commands(house, output):
    model, data = house / "m.pth", house / "data"
    return {
        "predict": ("predict", "--model", model, "--input", data / "val" / "img", "--output", output, "--save", "all"),
        "overwrite": ("predict", "--model", model, "--input", data / "val" / "img", "--output", output, "--overwrite"),
        "evaluate": ("evaluate", "--model", model, "--data", data, "--output", output),
        "synthesize": ("synthesize", "vesicle", "--output", output, "--train", 1, "--val", 1, "--size", 32),
        "synthesize --overwrite": (
            *("synthesize", "vesicle", "--output", output, "--train", 1, "--val", 1, "--size", 32, "--overwrite"),
        ),
        "check": ("check", data, "--html", output / "c.html"),
        "preview": ("preview", "task=vesicle", f"data.root={data}", "--samples", 1, "--output", output / "p.png"),
        "torchscript": ("export", "torchscript", "--model", model, "--output", output / "m.pt"),
        "compare": ("compare", house / "run", house / "run", "--output", output / "c.json"),
    }


def foreign(folder):
    """Hashes of all files but segexp's record and lock."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (RECORD, LOCK)
    }


def scatter(folder, seed):
    """Some files of somebody else's."""
    random = np.random.default_rng(seed)
    for name in random.choice(NAMES, size=random.integers(1, 6), replace=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(random.bytes(int(random.integers(0, 400))))
    return foreign(folder)


def test_no_file_of_somebody_else_is_lost(house, tmp_path, monkeypatch, capsys):
    counts = {"files": 0, "commands": 0, "refused": 0}
    for seed in range(2):
        for number, name in enumerate(commands(house, tmp_path)):
            output = tmp_path / f"{seed}_{number}"
            output.mkdir()
            mine = scatter(output, 100 * seed + number)
            for _ in range(2):  # the second call finds what the first one wrote
                before = foreign(output)
                code = run(monkeypatch, *commands(house, output)[name])
                after = foreign(output)
                assert mine.items() <= after.items(), (name, code)
                if code:
                    assert after == before, (name, code)
                    assert "segexp" in str(code), "the reason is said"
                counts["commands"] += 1
                counts["refused"] += bool(code)
            counts["files"] += len(mine)
    capsys.readouterr()
    print(counts)
    assert counts["refused"] > 2
    assert counts["commands"] - counts["refused"] > 2


@pytest.mark.parametrize("name", ["evaluate", "synthesize", "torchscript"])
@pytest.mark.parametrize("end", ["killed", "limited"])
def test_nor_where_the_command_ends_half_way(house, tmp_path, monkeypatch, name, end):
    output = tmp_path / "o"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    first = {}
    if name != "synthesize":
        assert run(monkeypatch, *commands(house, output)[name]) == 0
        first = foreign(output)
    fault = {"before": KILLED} if end == "killed" else {"file_limit": 500}
    ended = command(*commands(house, output)[name], AFTER="0", **fault)
    assert ended.returncode != 0, ended.stdout
    assert "Traceback" not in ended.stderr, ended.stderr
    whole = {path: digest for path, digest in foreign(output).items() if not path.split("/")[-1].startswith(".")}
    assert all(first.get(path, digest) == digest for path, digest in whole.items()), "old or new, never half"
    assert (output / "notes.txt").read_text() == "mine"
    if name == "torchscript":
        assert whole == first


SINGLE = {
    "calibrate": ("mine.yaml", lambda house: ["calibrate", "vesicle", "--images", house / "data" / "val" / "img"]),
    "calibrate's picture": (
        "mine.png",
        lambda house: ["calibrate", "vesicle", "--images", house / "data" / "val" / "img"],
    ),
    "onnx": ("m.onnx", lambda house: ["export", "onnx", "--model", house / "m.pth"]),
    "torch.export": ("m.pt2", lambda house: ["export", "pt2", "--model", house / "m.pth"]),
    "bioimage.io": (
        "m.zip",
        lambda house: ["export", "bioimageio", "--authors", "A", "--license", "MIT", "--model", house / "m.pth"],
    ),
    "report": ("report.html", None),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_file_of_somebody_else_under_the_name_asked_for_is_refused(house, tmp_path, monkeypatch, name):
    file, command = SINGLE[name]
    if command is None:
        write_run(tmp_path / "o")
        words = ["report", tmp_path / "o"]
    else:
        (tmp_path / "o").mkdir()
        asked = file.replace(".png", ".yaml")
        words = [*command(house), "--output", tmp_path / "o" / asked]
    (tmp_path / "o" / file).write_text("mine")
    before = foreign(tmp_path / "o")
    code = run(monkeypatch, *words)
    assert file in str(code)
    assert "was not written by segexp" in str(code), code
    assert foreign(tmp_path / "o") == before
