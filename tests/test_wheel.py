"""The built wheel, unpacked away from the checkout, holds the configuration and runs."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

# on one worker of xdist, so that the wheel is built once
pytestmark = pytest.mark.xdist_group("wheel")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_it_holds_the_configuration_and_nothing_of_the_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name.removeprefix("segexp/") for name in names if name.startswith("segexp/conf/")}
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "conf").rglob("*.yaml")}
    assert shipped == expected
    assert not any(name.startswith(("tests", "docs", "benchmarks")) for name in names)
    assert {f"segexp/report/templates/page.{kind}" for kind in ("css", "js")} <= set(names)
    assert {"hydra_plugins/segexp_pool/launcher.py", "hydra_plugins/segexp_pool/worker.py"} <= set(names)
    assert {f"segexp/pretrained/{name}.pth" for name in ("vesicle", "cytoskeleton")} <= set(names)
    assert "segexp/py.typed" in names
    assert any(name.endswith("entry_points.txt") for name in names)


def test_the_command_trains_from_any_folder(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = "import segexp, sys; from segexp.cli import main; print(segexp.__file__); main()"
    tiny = ["trainer=smoke", "trainer.epochs=1", "model.widths=[4,8]"]
    tiny += ["data.synthetic.train=2", "data.synthetic.val=2", "data.synthetic.size=48", "output_dir=run"]
    result = subprocess.run(
        [sys.executable, "-c", code, "train", "task=cytoskeleton", *tiny],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(site))
    assert (tmp_path / "run" / "best_cytoskeleton_model.pth").is_file()
    assert "</html>" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_wheel_beside_a_checkout_reads_the_conf_of_the_checkout(wheel, tmp_path):
    site, checkout = tmp_path / "site", tmp_path / "checkout"
    zipfile.ZipFile(wheel).extractall(site)
    shutil.copytree(ROOT / "conf", checkout / "conf")
    (checkout / "conf" / "task" / "mine.yaml").write_text("defaults: [vesicle]\nname: mine\n")
    shutil.copy(ROOT / "train.py", checkout)
    environment = os.environ | {"PYTHONPATH": str(site)}

    def shown(*command):
        command = [sys.executable, *map(str, command), "task=mine", "--cfg", "job"]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert "name: mine" in shown(checkout / "train.py").stdout
    assert "task/mine" in shown("-m", "segexp.cli", "train").stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("twine") is None, reason="the extra release is not installed")
def test_what_is_uploaded_passes_the_check_of_twine(tmp_path):
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    files = sorted(tmp_path.iterdir())
    assert [path.name.partition("-")[2].partition("-")[0] for path in files] == ["0.1.0", "0.1.0.tar.gz"]
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)]
    result = subprocess.run(check, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    with tarfile.open(files[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"conf/config.yaml", "mkdocs.yml", "docs/make_pictures.py", "src/segexp/py.typed", "CITATION.cff"} <= names
