"""The page of a run from its folder: whole, in part, damaged; the command it gives; its size."""

import json
import shutil

import pytest
import yaml

from segexp.errors import InputError
from segexp.report import write_report
from segexp.report.commands import command, data_folder
from segexp.report.page import setting
from segexp.report.records import read_records, source_flags
from segexp.report.run_page import curves, gather
from segexp.viz.thumbnails import read_pictures, write_pictures
from tests.report.folders import write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("report") / "run", warnings=["dim images"])


def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "run")


def test_it_tells_what_the_folder_holds(folder):
    page = write_report(folder).read_text()
    assert page.count("<li data-name=") == 4
    assert page.index("cell_03.tif") < page.index("cell_00.tif")  # worst first
    for words in ("dim images", "trainer.lr", "7 passes", "8 generated images", "2.13.0", "Validation scores"):
        assert words in page
    assert "segexp train task=vesicle trainer.lr=0.002<" in page
    assert "http" not in page.replace("http://www.w3.org/", "").replace("http-equiv", "")


@pytest.mark.parametrize("missing", ["val", "metrics.csv", "run.json", "train.log", "val/pictures.json"])
def test_a_section_without_records_is_left_out(folder, tmp_path, missing):
    run = copy(folder, tmp_path)
    shutil.rmtree(run / missing) if missing == "val" else (run / missing).unlink()
    page = write_report(run).read_text()
    assert ("Validation images" in page) == (missing != "val")
    assert ('id="curves"' in page) == (missing != "metrics.csv")
    assert ('id="warnings"' in page) == (missing != "train.log")
    assert ("<image href" in page) == (not missing.startswith("val"))


@pytest.mark.parametrize("name", ["summary.json", "run.json", "val/pictures.json"])
def test_a_damaged_file_is_named(folder, tmp_path, name):
    run = copy(folder, tmp_path)
    (run / name).write_text("{nothing")
    with pytest.raises(InputError, match=name):
        write_report(run)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        write_report(tmp_path / "absent")
    with pytest.raises(InputError, match=r"summary\.json"):
        write_report(tmp_path)


def test_fifty_images_stay_under_five_megabytes(folder, tmp_path):
    run = copy(folder, tmp_path)
    picture = read_pictures(run / "val" / "pictures.json")[0]
    full = "data:image/webp;base64," + "A" * (80_000 - 23 - sum(len(border["path"]) for border in picture["outlines"]))
    lines = ["image,class,dice,iou"]
    pictures = []
    for index in range(50):
        pictures.append(picture | {"name": f"{index}.tif", "image": full})
        lines.append(f"{index}.tif,vesicle,0.5,0.4")
    write_pictures(run / "val" / "pictures.json", pictures)
    (run / "val" / "scores.csv").write_text("\n".join(lines))
    size = write_report(run).stat().st_size
    assert 4_000_000 < size < 5_000_000


def test_scores_of_an_image_are_means_over_its_classes_and_undefined_ones_are_left_out(folder, tmp_path):
    run = copy(folder, tmp_path)
    table = "image,class,dice,hd95,tp\n007,a,0.2,nan,5\n007,b,0.4,3,5\nx,a,0.1,1,5\nx,b,0.1,1,5\ny,a,0.9,nan,0\n"
    (run / "val" / "scores.csv").write_text(table)
    (run / "val" / "pictures.json").unlink()
    images = gather(read_records(run), "dice")
    assert [image["name"] for image in images] == ["x", "007", "y"]
    assert images[1]["scores"] == pytest.approx({"dice": 0.3, "hd95": 3})
    assert [image["name"] for image in gather(read_records(run), "hd95")] == ["007", "x", "y"]


def test_the_command_is_what_was_typed_without_its_place():
    typed = ["task=vesicle", "data.root='my data'", "output_dir=runs/a", "resume=runs/a", "trainer.lr=1e-3"]
    expected = "segexp train task=vesicle 'data.root='\"'\"'my data'\"'\"'' trainer.lr=1e-3"
    assert command({"overrides": typed}) == expected
    assert command({"command": ["train.py", "-m", "task=vesicle"]}) == "segexp train task=vesicle"
    assert command({}) == "segexp train"


def test_the_command_names_the_folder_that_its_options_come_from(folder, tmp_path):
    run = copy(folder, tmp_path)
    (run / ".hydra").mkdir()
    sources = [("hydra", "pkg", "hydra.conf"), ("main", "file", "/x/conf"), ("command-line", "file", "/my lab/conf")]
    listed = [{"provider": provider, "schema": schema, "path": path} for provider, schema, path in sources]
    stored = {"hydra": {"runtime": {"config_sources": listed}, "job": {"config_name": "config"}}}
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(stored))
    assert "segexp train &#39;--config-dir=/my lab/conf&#39; task=vesicle trainer.lr" in write_report(run).read_text()
    listed.append({"provider": "hydra.searchpath in command-line", "schema": "file", "path": "/more"})
    stored["hydra"]["job"]["config_name"] = "other"
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(stored))
    flags = ["--config-dir=/my lab/conf", "--config-name=other", "hydra.searchpath=[file:///more]"]
    assert source_flags(run / ".hydra" / "hydra.yaml") == flags
    for damaged in ("", "[]", "hydra: 3", "hydra: {runtime: {config_sources: [3]}, job: {config_name: x}}", "{"):
        (run / ".hydra" / "hydra.yaml").write_text(damaged)
        assert source_flags(run / ".hydra" / "hydra.yaml") == []


def test_the_folder_of_the_data():
    def source(images, masks):
        return {"data": {"source": {"val_img_dir": images, "val_mask_dir": masks}}}

    assert data_folder(source("/d/val/img", "/d/val/mask")) == "/d"
    assert data_folder(source("/d/test/img", "/d/test/mask")) == "/d/test"
    assert data_folder(source("/d/images", "/d/masks")) == "DATA"
    assert data_folder({"data": {"source": "generated"}}) == data_folder({}) == "DATA"


def test_robustness_measured_afterwards_is_shown(folder, tmp_path):
    run = copy(folder, tmp_path)
    record = json.loads((run / "val" / "evaluation.json").read_text())
    curves = {"robustness": record.pop("robustness")}
    (run / "val" / "evaluation.json").write_text(json.dumps(record))
    without = write_report(run).read_text()
    assert 'id="robustness"' not in without
    assert "--robustness --output" in without
    (run / "robustness").mkdir()
    (run / "robustness" / "scores.json").write_text(json.dumps(curves))
    page = write_report(run).read_text()
    assert "Intensity factor" in page
    assert "--robustness --output" not in page


def test_an_evaluation_has_the_part_on_scores_and_images(folder, tmp_path):
    place = shutil.copytree(folder / "val", tmp_path / "scores")
    (place / "evaluation.json").rename(place / "scores.json")
    page = write_report(place).read_text()
    assert "m.pth, scored on 4 images, reaches a mean Dice of 0.9" in page
    assert page.count("<li data-name=") == 4
    assert "Calibration" in page
    assert 'id="use"' not in page
    assert 'id="settings"' not in page


def test_settings_read_as_typed():
    assert [setting(value) for value in (None, True, 0.5, [1, "a"], "x")] == ["null", "true", "0.5", "[1, a]", "x"]


def test_a_second_page_replaces_the_first(folder, tmp_path):
    run = copy(folder, tmp_path)
    write_report(run)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"epochs": 4321}))
    assert "4,321 passes" in write_report(run).read_text()


def test_a_monitored_score_beside_the_usual_ones_has_a_chart_of_its_own():
    rows = [
        {"seconds": 60.0 * epoch, "lr": 0.1, "train_loss": 1.0, "dice": 0.5, "hd95": distance}
        for epoch, distance in enumerate((9.0, 4.0, 6.0), 1)
    ]
    assert [chart.title for chart in curves(rows)] == ["Loss", "Validation scores", "Learning rate"]
    charts = curves(rows, "hd95")
    assert [chart.title for chart in charts] == ["Loss", "Validation scores", "Monitored score", "Learning rate"]
    assert charts[2].summary == "The best model is chosen by HD95: 4.000 at best."
