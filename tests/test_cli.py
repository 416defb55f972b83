"""`segexp` and its subcommands, run in this process; the installed command is tested in test_wheel."""

import json
import re
import sys

import cv2
import numpy as np
import pytest
import tifffile
import typer

from segexp import cli, read_image, read_mask
from segexp.evaluation.corruptions import PERTURBATIONS
from segexp.sweep.table import write_summary
from tests.inference.test_predictor import write_model
from tests.report.folders import write_run, write_sweep
from tests.sweep.test_table import job as sweep_job


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["segexp", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def test_predict_writes_masks_and_probabilities_at_full_size(tmp_path, monkeypatch, capsys):
    write_model(tmp_path / "m.pth")
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", np.random.default_rng(0).integers(0, 4000, (61, 45)).astype(np.uint16))
    cv2.imwrite(str(tmp_path / "in" / "b.png"), np.zeros((20, 30, 3), np.uint8))
    arguments = ("predict", "--model", tmp_path / "m.pth", "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert run(monkeypatch, *arguments) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".segexp.jsonl",
        ".segexp.lock",
        "a_mask.png",
        "a_prob.tif",
        "b_mask.png",
        "b_prob.tif",
    ]
    mask, probabilities = read_image(tmp_path / "out" / "a_mask.png"), read_image(tmp_path / "out" / "a_prob.tif")
    assert mask.shape == probabilities.shape == (61, 45)
    assert mask.dtype == np.uint8
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(mask, np.where(probabilities >= 0.5, 255, 0))
    assert "2 of 2 images" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("group", [[], ["export"]], ids=["segexp", "export"])
def test_the_list_of_commands_says_a_whole_sentence_of_each(monkeypatch, capsys, group, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run(monkeypatch, *group, "--help") == 0
    text = capsys.readouterr().out
    for line in text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines():
        assert re.fullmatch(r"  [a-z0-9-]+ +[A-Z].*[a-zX]\.", line), line
    assert all(len(line) <= columns for line in text.splitlines())
    assert group or cli.EXAMPLE in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "example"),
    [
        (["predict", "--model", "m.pth"], "Missing option '--input'. Example: segexp predict --model"),
        (["masks"], "Missing option '--input'. Example: segexp masks --input DATA/train/mask --images DATA/train/img"),
        (["calibrate"], "Missing argument 'task'. Example: segexp calibrate vesicle --images unlabelled"),
        (["export", "onnx"], "Missing option '--model'. Example: segexp export onnx --model"),
    ],
)
def test_where_an_option_is_missing_an_example_shows_what_to_type(monkeypatch, capsys, arguments, example):
    assert run(monkeypatch, *arguments) == 2
    assert example in " ".join(capsys.readouterr().err.split())


def test_predict_goes_on_after_a_broken_file(tmp_path, monkeypatch, capsys):
    write_model(tmp_path / "m.pth")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").write_bytes(b"broken")
    cv2.imwrite(str(tmp_path / "in" / "b.png"), np.eye(20, dtype=np.uint8))
    arguments = ("predict", "--model", tmp_path / "m.pth", "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert run(monkeypatch, *arguments) == 1
    assert (tmp_path / "out" / "b_mask.png").is_file()
    captured = capsys.readouterr()
    assert "a.tif" in captured.err
    assert "1 of 2 images" in captured.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "--model", "no.pth", "--input", ".", "--output", "o"], "no.pth: no such file"),
        (["synthesize", "nuclei", "--output", "o"], "vesicle"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in str(run(monkeypatch, *arguments))


def test_no_images(tmp_path, monkeypatch):
    write_model(tmp_path / "m.pth")
    (tmp_path / "in").mkdir()
    arguments = ("predict", "--model", tmp_path / "m.pth", "--output", tmp_path / "out", "--input")
    assert "no images" in run(monkeypatch, *arguments, tmp_path / "in")
    assert "no such file or folder" in run(monkeypatch, *arguments, tmp_path / "absent")


def test_several_inputs_and_results_beside_them(tmp_path, monkeypatch, capsys):
    write_model(tmp_path / "m.pth")
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / "in" / name), np.eye(20, dtype=np.uint8))
    files = (tmp_path / "in" / "a.png", tmp_path / "in" / "b.png")
    arguments = ("predict", "--model", tmp_path / "m.pth", "--output", tmp_path / "in", "--input")
    assert run(monkeypatch, *arguments, *files) == 0
    assert run(monkeypatch, *arguments, tmp_path / "in") == 0
    assert capsys.readouterr().out.count("2 of 2 images") == 2
    cv2.imwrite(str(tmp_path / "a.png"), np.eye(20, dtype=np.uint8))
    assert "same name" in run(monkeypatch, *arguments, tmp_path / "in", tmp_path / "a.png")


def test_predict_goes_on_where_it_stopped_and_measures(tmp_path, monkeypatch, capsys):
    for name, seed in (("m.pth", 0), ("n.pth", 1)):
        write_model(tmp_path / name, seed=seed)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8))
    out = tmp_path / "o"
    arguments = ["predict", "--model", tmp_path / "m.pth", "--model", tmp_path / "n.pth", "--tta", "--output", out]
    arguments += ["--save", "all", "--pixel-size", 0.1, "--prob-dtype", "uint8", "--input"]
    assert run(monkeypatch, *arguments, tmp_path / "a.png") == 0
    assert run(monkeypatch, *arguments, f"{tmp_path}/[ab].png") == 0
    captured = capsys.readouterr().out
    assert captured.count("a.png: skipped, already predicted by the same model and settings") == 1
    assert "2 of 2 images" in captured
    assert read_image(out / "a_prob.tif").dtype == np.uint8
    names = [line.split(",")[0] for line in (out / "images.csv").read_text().splitlines()]
    assert names == ["image", "a.png", "b.png"]
    assert "area_um2" in (out / "measurements.csv").read_text()
    assert run(monkeypatch, *arguments, tmp_path / "a.png", "--overwrite") == 0
    assert "already predicted" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--save", "maks"], "--save maks: expected some of mask,prob"),
        (["--prob-dtype", "int8"], "--prob-dtype int8"),
        (["--pixel-size", "-1"], "--pixel-size"),
        (["--threshold", "1"], "--threshold"),
    ],
)
def test_mistakes_of_predict(tmp_path, monkeypatch, flags, words):
    write_model(tmp_path / "m.pth")
    cv2.imwrite(str(tmp_path / "a.png"), np.eye(20, dtype=np.uint8))
    arguments = ("predict", "--model", tmp_path / "m.pth", "--input", tmp_path / "a.png", "--output", tmp_path / "o")
    assert words in str(run(monkeypatch, *arguments, *flags))


def test_synthesize_writes_the_data_layout(tmp_path, monkeypatch):
    arguments = ("synthesize", "vesicle", "--output", tmp_path / "d", "--train", 3, "--val", 2, "--size", 64)
    assert run(monkeypatch, *arguments) == 0
    assert len(list((tmp_path / "d" / "train" / "img").iterdir())) == 3
    stems = sorted(p.stem for p in (tmp_path / "d" / "val" / "img").iterdir())
    assert stems == sorted(p.stem for p in (tmp_path / "d" / "val" / "mask").iterdir())
    image, mask = (
        read_image(tmp_path / "d" / "val" / "img" / f"{stems[0]}.tif"),
        read_mask(tmp_path / "d" / "val" / "mask" / f"{stems[0]}.npy"),
    )
    assert image.dtype == np.uint16
    assert image.shape == mask.shape == (64, 64)
    assert "already" in run(monkeypatch, *arguments)


def test_evaluate_scores_a_data_set_and_a_folder(tmp_path, monkeypatch, capsys):
    write_model(tmp_path / "m.pth")
    for index in range(3):
        for kind in ("img", "mask"):
            (tmp_path / "d" / "val" / kind).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(index)
        tifffile.imwrite(tmp_path / "d" / "val" / "img" / f"{index}.tif", rng.integers(0, 999, (40, 40), np.uint16))
        np.save(tmp_path / "d" / "val" / "mask" / f"{index}.npy", rng.random((40, 40)) > 0.8)
    arguments = ("evaluate", "--model", tmp_path / "m.pth", "--output", tmp_path / "out", "--data")
    assert run(monkeypatch, *arguments, tmp_path / "d", "--scores", "object,surface", "--pixel-size", 0.1) == 0
    out = capsys.readouterr().out
    assert "HD95 (µm)" in out
    assert "3 images; threshold 0.5" in out
    record = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert record["scores"]["object_f1"]["images"] == 3
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("<image href") == 3
    assert run(monkeypatch, *arguments, tmp_path / "d" / "val", "--images", 2, "--threshold", 0.3) == 0
    record = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert [image["name"] for image in record["images"]] == ["0.tif", "2.tif"]
    assert record["operating_point"]["threshold"] == 0.3
    assert "robustness" not in record
    comparison = ("compare", tmp_path / "out", tmp_path / "out", "--output", tmp_path / "c.json")
    assert run(monkeypatch, *comparison) == 0
    assert "within noise" in capsys.readouterr().out
    (result,) = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["comparisons"]
    assert result["scores"]["dice"]["difference"] == 0
    assert "two or more" in run(monkeypatch, "compare", tmp_path / "out")
    assert run(monkeypatch, *arguments, tmp_path / "d", "--images", 1, "--robustness", "--scores", "probability") == 0
    assert "holds (within 0.02)" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert set(record["robustness"]) == set(PERTURBATIONS)
    assert "neither val/img nor img" in run(monkeypatch, *arguments, tmp_path)
    assert "probability, filament" in run(monkeypatch, *arguments, tmp_path / "d", "--scores", "objekt")
    assert "--threshold 2.0" in run(monkeypatch, *arguments, tmp_path / "d", "--threshold", 2)


def test_report_writes_pages_again(tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "run")
    write_sweep(tmp_path / "sweep")
    assert run(monkeypatch, "report", tmp_path / "run", tmp_path / "sweep") == 0
    pages = [tmp_path / name / "report.html" for name in ("run", "sweep")]
    assert capsys.readouterr().out.split() == [str(page) for page in pages]
    assert all("</html>" in page.read_text(encoding="utf-8") for page in pages)
    assert "no summary.json" in run(monkeypatch, "report", tmp_path)


def test_report_of_a_sweep_counts_jobs_that_were_resumed_alone(tmp_path, monkeypatch, capsys):
    first = sweep_job(tmp_path / "s", 0, "trainer.lr=1", score=0.5)
    sweep_job(tmp_path / "s", 1, "trainer.lr=2", score=0.6)
    write_summary(tmp_path / "s")
    first.save(score=0.9)
    assert run(monkeypatch, "report", tmp_path / "s") == 0
    assert "the best, job 0, scores 0.900" in (tmp_path / "s" / "report.html").read_text()
    assert ",0.9," in (tmp_path / "s" / "summary.csv").read_text()
    mine = (tmp_path / "s" / "summary.csv").read_text().replace("0.6", "0.1")
    (tmp_path / "s" / "summary.csv").write_text(mine)
    first.save(score=0.7)
    capsys.readouterr()
    assert run(monkeypatch, "report", tmp_path / "s") == 0
    assert "the page shows summary.csv as it is: " in capsys.readouterr().out
    assert (tmp_path / "s" / "summary.csv").read_text() == mine
    assert "scores 0.900" in (tmp_path / "s" / "report.html").read_text()


def _commands():
    command = typer.main.get_command(cli.app)
    return [[name] for name in command.commands if name != "train"] + [
        ["export", name] for name in command.commands["export"].commands
    ]


@pytest.mark.parametrize("columns", [50, 80])
@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_help_is_for_people(monkeypatch, capsys, words, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run(monkeypatch, *words, "--help") == 0
    text = capsys.readouterr().out
    assert re.search(rf"^  (Examples:\n\n  |Example: )segexp\s+{re.escape(words[0])}\b", text, re.MULTILINE)
    assert all(len(line) <= columns for line in text.splitlines())
    assert not re.search(r"list\[|range>", text), "types as Python spells them"
    overrides = words[0] in ("check", "preview", "sweep-plan", "learning-curve")
    assert ("[KEY=VALUE]..." in text.partition("\n\n")[0]) == overrides


def _completions(monkeypatch, capsys, *words):
    monkeypatch.setenv("_SEGEXP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(["segexp", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    with pytest.raises(SystemExit):
        cli.app(prog_name="segexp")
    return set(capsys.readouterr().out.split())


def test_the_shell_completes_every_command_and_its_options(monkeypatch, capsys):
    command = typer.main.get_command(cli.app)
    assert set(command.commands) == _completions(monkeypatch, capsys, "")
    for name, part in command.commands.items():
        options = {option for parameter in part.params for option in parameter.opts if option.startswith("--")}
        assert options <= _completions(monkeypatch, capsys, name, "--"), name
