"""Real attacks on everything that segexp reads: none may run, reach a file that was not asked for, or fill memory.

Each attack would leave a mark: a file called ``owned``, or the name of a file opened that is none of its business.
docs/security.md says what is promised; this is where it is tested.
"""

import io
import os
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
import yaml
from hydra import compose, initialize_config_dir

import segexp
from segexp import checkpoint, config
from segexp.check.dataset import CheckSettings, check
from segexp.check.page import render
from segexp.check.scan import find_folders
from segexp.config import conf_dir, load_augment
from segexp.config.overrides import with_resume
from segexp.config.targets import build, check_node
from segexp.data.ranges_file import read_ranges
from segexp.data.reading import Reading
from segexp.errors import InputError, printable
from segexp.experiment.run import as_typed
from segexp.io.images import read_image, read_mask, read_pixel_size
from tests.check.test_page import Tags
from tests.data.broken import Attack, write_sound
from tests.inference.test_predictor import write_model
from tests.processes import script
from tests.test_cli import run
from tests.test_scripts import TINY

OPENED: list[str] = []
_watching = False


def _watch(event, arguments):
    if _watching and event in ("open", "os.system", "subprocess.Popen", "socket.connect", "os.exec", "os.posix_spawn"):
        OPENED.append(f"{event} {arguments[0]}")


sys.addaudithook(_watch)


@contextmanager
def watching():
    """Collect what is opened, started and connected to."""
    global _watching
    OPENED.clear()
    _watching = True
    try:
        yield OPENED
    finally:
        _watching = False


def pickled(path):
    """A pickle that makes a file when it is read."""
    return pickle.dumps(Attack(path))


# arrays


def test_a_pickle_in_an_array(tmp_path):
    owned = tmp_path / "owned"
    np.save(tmp_path / "object.npy", np.array([[Attack(owned)]], object), allow_pickle=True)
    (tmp_path / "bare.npy").write_bytes(pickled(owned))
    np.savez(tmp_path / "archive.npz", mask=np.array([[Attack(owned)]], object))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    for name in ("object", "bare", "archive"):
        for read in (read_image, read_mask):
            with pytest.raises(InputError, match=rf"{name}\.npy"):
                read(tmp_path / f"{name}.npy")
    assert not owned.exists()


def test_an_array_header_is_data_and_not_an_expression(tmp_path):
    text = f"{{'descr': open({str(tmp_path / 'owned')!r}, 'w'), 'fortran_order': False, 'shape': (1, 1)}}\n"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(8)
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.npy"):
        read_image(tmp_path / "a.npy")
    assert not (tmp_path / "owned").exists()


# model files


def zipped(folder, data, extra=()):
    """A file laid out as torch.save does, around another pickle."""
    path = folder / "m.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", data)
        archive.writestr("m/version", "3")
        archive.writestr("m/byteorder", "little")
        for name, content in extra:
            archive.writestr(name, content)
    return path


def old_tar(folder, data):
    """The layout of the first PyTorch versions."""
    path = folder / "m.pth"
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def with_call(module, name, *arguments):
    """A pickle that calls any function, written opcode by opcode."""

    class Call:
        def __reduce__(self):
            return getattr(__import__(module), name), arguments

    return pickle.dumps({"format": 1, "model": Call()}, protocol=2)


def model_attacks(folder):
    owned = str(folder / "owned")
    code = f"open({owned!r}, 'w')"
    yield "bare pickle", lambda: (folder / "m.pth").write_bytes(pickled(owned))
    yield "zip with open", lambda: zipped(folder, pickled(owned))
    yield "zip with os.system", lambda: zipped(folder, with_call("os", "system", f"touch '{owned}'"))
    yield "zip with eval", lambda: zipped(folder, with_call("builtins", "eval", code))
    yield "zip with exec", lambda: zipped(folder, with_call("builtins", "exec", code))
    yield "zip with torch.load", lambda: zipped(folder, with_call("torch", "load", str(folder / "other.pth")))
    yield "zip that climbs", lambda: zipped(folder, pickled(owned), [("../../owned", b"x"), (owned, b"x")])
    yield "tar of old", lambda: old_tar(folder, pickled(owned))
    yield "saved whole", lambda: torch.save({"format": 1, "weights": Attack(folder / "owned")}, folder / "m.pth")


@pytest.mark.parametrize("number", range(9))
def test_a_model_file_runs_nothing(tmp_path, monkeypatch, number):
    name, write = list(model_attacks(tmp_path))[number]
    write()
    (tmp_path / "other.pth").write_bytes(pickled(tmp_path / "owned"))
    cv2.imwrite(str(tmp_path / "a.png"), np.eye(20, dtype=np.uint8))
    for use in (checkpoint.load, segexp.load_model):
        with pytest.raises(InputError, match=r"m\.pth"):
            use(tmp_path / "m.pth")
    arguments = ("predict", "--model", tmp_path / "m.pth", "--input", tmp_path / "a.png", "--output", tmp_path / "out")
    assert "m.pth" in str(run(monkeypatch, *arguments)), name
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path.parent / "owned").exists()


def test_a_torchscript_archive_is_no_model_file(tmp_path):
    torch.jit.trace(torch.nn.Identity(), torch.zeros(1)).save(str(tmp_path / "m.pth"))
    with pytest.raises(InputError, match=r"m\.pth"):
        checkpoint.load(tmp_path / "m.pth")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "os.system"},
        {"name": "torch.hub.load"},
        {"name": "__class__"},
        {"name": ["UNet"]},
        {"settings": {"_target_": "os.system"}},
        {"settings": {"widths": [2**40, 2**40]}},
        {"settings": {"widths": [1] * 10**6}},
        {"settings": {"widths": [10**5, 10**5], "kernel_size": 99999}},
        {"settings": None},
        {"settings": "widths"},
    ],
)
def test_what_a_model_file_names_is_neither_imported_nor_made_room_for(tmp_path, change):
    write_model(tmp_path / "m.pth")
    content = torch.load(tmp_path / "m.pth", weights_only=True)
    content["model"] |= change
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"m\.pth"):
        checkpoint.load_model(tmp_path / "m.pth")


# settings


TARGETS = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "runpy.run_path",
    "importlib.import_module",
    "torch.load",
    "torch.hub.load",
    "torch.nn.modules.module.os.system",
    "kornia.augmentation.auto.base.os.system",
    "hydra.utils.instantiate",
    "hydra._internal.instantiate._instantiate2.instantiate",
    "segexp.checkpoint.load",
    "segexp.train.main",
    "segexp.models..unet",
    "torch.nn.Module.__init__",
    "torch.nn.__builtins__",
    "pickle.loads",
]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_that_is_no_module_is_refused_everywhere(tmp_path, target):
    hidden = {"_target_": "segexp.augment.Augmentation", "operations": [{"_target_": target, "command": "touch owned"}]}
    for node in ({"_target_": target, "command": "touch owned"}, hidden):
        with pytest.raises(InputError, match="_target_"):
            check_node(node, "augment")
        with pytest.raises(InputError, match="_target_"):
            build(node)
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(node))
        with pytest.raises(InputError, match="_target_"):
            load_augment(tmp_path / "a.yaml")
    assert not os.path.exists("owned")


@pytest.mark.parametrize(
    "override",
    ["model._target_=os.system", "augment._target_=torch.hub.load", "+augment.x={_target_:os.system}"],
)
def test_a_target_on_the_command_line(tmp_path, override):
    result = script("train.py", "task=vesicle", *TINY, override, cwd=tmp_path)
    assert result.returncode == 1
    assert "_target_" in result.stderr
    assert "Traceback" not in result.stderr


YAML_ATTACKS = [
    "!!python/object/apply:os.system ['touch owned']",
    "!!python/object/new:subprocess.Popen [['touch', 'owned']]",
    "!!python/name:os.system",
    "x: &a [*a]",
    "[" * 5000,
]


@pytest.mark.parametrize("text", YAML_ATTACKS)
def test_yaml_holds_values_only(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError):
        load_augment(tmp_path / "a.yaml")
    folder = hostile_run(tmp_path, [])
    (folder / ".hydra" / "overrides.yaml").write_text(text)
    with pytest.raises(InputError, match=r"overrides\.yaml"):
        with_resume([f"resume={folder}"])
    assert not (tmp_path / "owned").exists()


# a run folder from a stranger


def hostile_run(folder, overrides):
    run_folder = folder / "run"
    (run_folder / ".hydra").mkdir(parents=True, exist_ok=True)
    (run_folder / "last.pth").write_bytes(pickled(folder / "owned"))
    (run_folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    return run_folder


CALL = "{_target_:subprocess.Popen,args:[touch,owned]}"
STORED = [
    f"hydra.callbacks.x={CALL}",
    f"+hydra.callbacks.x={CALL}",
    f"++hydra.launcher={CALL}",
    f"~hydra.callbacks,+hydra.callbacks.x={CALL}",
    f" hydra.callbacks.x={CALL}",
    f"\thydra.callbacks.x={CALL}",
    "hydra/launcher=../../evil",
    "--config-dir=evil",
    "--config-path=evil",
    "-cd=evil",
    "--config-name=evil",
    "--experimental-rerun=evil",
    "-m",
    "experiment=../../run/evil",
    "experiment=/tmp/evil",
    "+experiment=a/../../../evil",
    "task=..",
    "+task@hydra=evil",
    "+task@_global_=evil",
    "+evil/group=x",
    "task=vesicle\nhydra.callbacks.x=1",
]


@pytest.mark.parametrize("stored", STORED)
def test_stored_overrides_reach_neither_hydra_nor_other_files(tmp_path, stored):
    folder = hostile_run(tmp_path, ["task=vesicle", stored])
    try:
        arguments = with_resume([f"resume={folder}"])
    except InputError as error:
        assert "overrides.yaml" in str(error)  # noqa: PT017
    else:
        assert not any("hydra" in argument or "evil" in argument for argument in arguments)


def test_stored_targets_need_to_be_allowed_again(tmp_path):
    folder = hostile_run(tmp_path, ["task=vesicle", "allow_targets=[os,subprocess]", "seed=3"])
    assert with_resume([f"resume={folder}"])[:2] == ["task=vesicle", "seed=3"]


def test_resuming_a_strangers_run_runs_nothing_of_it(tmp_path):
    hostile_run(tmp_path, ["task=vesicle", *TINY, f"hydra.callbacks.x={CALL}", "model._target_=os.system"])
    result = script("train.py", "resume=run", cwd=tmp_path)
    assert result.returncode == 1
    assert "_target_ os.system" in result.stderr
    hostile_run(tmp_path, ["task=vesicle", *TINY])
    result = script("train.py", "resume=run", cwd=tmp_path)
    assert result.returncode == 1
    assert "last.pth: not a segexp model file" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "owned").exists()


def test_a_strangers_run_does_not_learn_what_is_in_the_environment(tmp_path):
    hostile_run(
        tmp_path, ["task=vesicle", *TINY, "data.group='${oc.env:TOKEN}'", "logger.mlflow.uri=http://127.0.0.1:9"]
    )
    result = script("train.py", "resume=run", cwd=tmp_path, TOKEN="s3cret")
    assert result.returncode == 1
    assert "contains an interpolation" in result.stderr
    assert "Traceback" not in result.stderr
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"s3cret" not in written + result.stdout.encode() + result.stderr.encode()


def test_an_augmentation_of_a_stranger_looks_nothing_up(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cret")
    text = "_target_: segexp.augment.Augmentation\noperations: []\nx: ${oc.env:TOKEN}\n"
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=r"a\.yaml: contains an interpolation") as error:
        load_augment(tmp_path / "a.yaml")
    assert "s3cret" not in str(error.value)


def test_a_secret_that_was_typed_as_a_reference_is_recorded_as_typed():
    changed = {"logger.mlflow.uri": (False, "http://user:s3cret@host"), "trainer.lr": (0.1, 0.2)}
    typed = {"logger.mlflow.uri": "${oc.env:URI}", "trainer.lr": "0.2"}
    assert as_typed(changed, typed) == {"logger.mlflow.uri": (False, "${oc.env:URI}"), "trainer.lr": (0.1, 0.2)}


def test_generated_images_of_a_strangers_ranges_stay_bounded(tmp_path):
    (tmp_path / "r.yaml").write_text("task: vesicle\nranges: {psf: [1.1, 1.0e+9]}\n")
    with pytest.raises(InputError, match=r"r\.yaml: psf must be .* at most"):
        read_ranges(tmp_path / "r.yaml", "vesicle")


@pytest.mark.parametrize(
    "setting", ["trainer.num_workers=100000", "task.min_size=99999999999", "task.classes=['../x']"]
)
def test_settings_have_bounds(setting):
    with (
        initialize_config_dir(str(conf_dir()), version_base="1.3"),
        pytest.raises(InputError, match=setting.split("=")[0]),
    ):
        config.read(compose("config", ["task=vesicle", "output_dir=x", setting]))


def test_each_promise_names_tests_that_exist():
    """docs/security.md says by which test each promise is held."""
    root = Path(__file__).parent.parent
    table = (root / "docs" / "security.md").read_text(encoding="utf-8").split("## A run that is resumed")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 15
    known = {}
    for path in (root / "tests").rglob("test_*.py"):
        names = re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        known[path.relative_to(root).as_posix()] = names
    every = {name for names in known.values() for name in names}
    for *_, cell in rows:
        named = re.findall(r"`(test_\w+|tests/[\w/.]+)`", cell)
        assert named, cell
        for name in named:
            assert name in every or name in known, name


# metadata


def ome_tiff(path, xml):
    tifffile.imwrite(path, np.zeros((20, 30), np.uint8), description=xml.encode(), metadata=None)
    return path


def test_xml_in_a_tiff_names_no_other_file(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("0.123")
    entity = f'<!DOCTYPE OME [<!ENTITY size SYSTEM "{secret.as_uri()}">]>'
    remote = '<!DOCTYPE OME SYSTEM "http://127.0.0.1:9/ome.dtd">'
    pixels = '<OME><Image><Pixels PhysicalSizeX="1" SizeX="30">&size;</Pixels></Image></OME>'
    for index, head in enumerate((entity, remote, entity.replace("ENTITY", "ENTITY %"), remote.lower())):
        path = ome_tiff(tmp_path / f"{index}.ome.tif", '<?xml version="1.0"?>' + head + pixels)
        with watching() as opened:
            for read in (read_image, read_pixel_size):
                try:
                    read(path)
                except InputError as error:
                    assert path.name in str(error)  # noqa: PT017
        assert opened
        assert not [entry for entry in opened if "secret" in entry or "socket" in entry]


def test_xml_that_swells_is_not_swollen(tmp_path):
    layers = "".join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10 if n else "ha" * 50}">' for n in range(12))
    path = ome_tiff(tmp_path / "a.ome.tif", f"<!DOCTYPE OME [{layers}]><OME><Image>&x11;</Image></OME>")
    with pytest.raises(InputError, match=r"a\.ome\.tif.*document type"):
        read_image(path)


def test_a_tiff_that_names_other_files_as_its_parts(tmp_path):
    tifffile.imwrite(tmp_path / "secret.tif", np.full((20, 30), 99, np.uint8))
    inside = tmp_path / "data"
    inside.mkdir()
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYCZT" Type="uint8" SizeX="30" SizeY="20" SizeC="1" SizeZ="2" SizeT="1">'
        '<TiffData IFD="0" FirstZ="0"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData IFD="0" FirstZ="1"><UUID FileName="../secret.tif">urn:uuid:2</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    path = ome_tiff(inside / "a.ome.tif", xml)
    with watching() as opened:
        assert read_image(path).max() == 0
    assert not [entry for entry in opened if "secret" in entry]


# pages and terminals


NAMES = [
    "<script>alert(1)<\\script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}",
    "{% include 'page.html' %}",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "\x1b]0;title\x07\x1b[2J",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text_on_a_page_and_in_a_terminal(tmp_path, monkeypatch, capsys, name):
    folder = write_sound(tmp_path / "data")
    for kind, suffix in (("img", ".tif"), ("mask", ".npy")):
        path = folder / "train" / kind / f"a{suffix}"
        (folder / "val" / kind / f"{name}{suffix}").write_bytes(path.read_bytes())  # leakage: shown with a picture
    (folder / "train" / "img" / f"{name}.png").write_bytes(b"")
    np.save(folder / "train" / "mask" / f"{name}.npy", np.ones((3, 3), bool))
    report, entries = check("data", find_folders(folder), CheckSettings())
    page = render(report, entries, Reading())
    assert not re.search(r"<(script|svg|iframe|object|base|form)\b", page)
    tags = Tags(page)
    assert not [name for _, attributes in tags.tags for name in attributes if name.startswith("on")]
    assert all(a["src"].startswith("data:image/jpeg;base64,") for tag, a in tags.tags if tag == "img")
    assert printable(name) in tags.text  # as it is, {{ 7 * 7 }} too
    assert "\x1b" not in page
    assert run(monkeypatch, "check", folder) == 1
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err


def test_commands_are_never_given_to_a_shell():
    source = "\n".join(path.read_text() for path in Path(segexp.__file__).parent.rglob("*.py"))
    assert not re.search(
        r"shell\s*=\s*True|os\.system\(|os\.popen\(|(?<![.\w])(eval|exec)\(|pickle\.load|yaml\.load\(", source
    )
    assert not re.search(r"weights_only\s*=\s*False|allow_pickle\s*=\s*True|extractall\(|\.extract\(", source)


def test_a_hostile_file_does_not_keep_a_process_busy(tmp_path):
    """What could loop for ever ends within seconds: chains of directories, long headers, deep XML."""
    deep = "<OME>" + "<a>" * 200_000
    ome_tiff(tmp_path / "deep.tif", deep)
    (tmp_path / "long.npy").write_bytes(b"\x93NUMPY\x02\x00" + (10**6).to_bytes(4, "little") + b"(" * 10**6)
    code = "import sys, segexp\nfor p in sys.argv[1:]:\n try: segexp.read_image(p)\n except ValueError as e: print(e)"
    files = [str(path) for path in tmp_path.iterdir()]
    result = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
