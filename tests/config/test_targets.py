"""Only modules from allowed places are instantiated."""

import pytest
import torch

from segexp.config.targets import build, check_node, target_class
from segexp.errors import InputError
from segexp.models import UNet


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        "torch.load",
        "torch.nn.functional.relu",
        "torch.nn.modules.module.torch.load",
        "segexp.train.main",
        "segexp.models.unet.torch",
        "builtins.eval",
        "subprocess.Popen",
        "kornia.augmentation.os",
        "torch.nn",
        "",
        "torch.nn.",
        "torch.nn.Parameter",
        "..torch.nn.ReLU",
    ],
)
def test_refused(target):
    with pytest.raises(InputError, match="_target_"):
        target_class(target)


def test_allowed():
    assert target_class("segexp.models.UNet") is UNet
    assert target_class("torch.nn.ReLU") is torch.nn.ReLU
    assert target_class("kornia.augmentation.RandomHorizontalFlip").__name__ == "RandomHorizontalFlip"


def test_the_list_can_be_extended(tmp_path, monkeypatch):
    (tmp_path / "mylab.py").write_text("import torch\nclass Mine(torch.nn.Module):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="allow_targets"):
        target_class("mylab.Mine")
    assert target_class("mylab.Mine", ("mylab",)).__name__ == "Mine"


def test_build_nested():
    node = {"_target_": "torch.nn.Sequential"}
    assert len(build(node)) == 0
    model = build({"_target_": "segexp.models.UNet", "widths": [4, 8]}, in_channels=3, classes=2)
    assert model.settings["widths"] == [4, 8]
    assert model.settings["in_channels"] == 3


def test_wrong_arguments_are_named_with_the_nearest():
    with pytest.raises(InputError, match=r"model\.width:.*did you mean widths"):
        check_node({"_target_": "segexp.models.UNet", "width": 3}, "model")
    with pytest.raises(InputError, match=r"augment\.operations\[1\]: _target_ os\.system"):
        check_node({"_target_": "torch.nn.Identity", "operations": [{}, {"_target_": "os.system"}]}, "augment")
    with pytest.raises(InputError, match="did you mean UNet"):
        target_class("segexp.models.Unet")
    with pytest.raises(InputError, match="kernel_size=2"):
        build({"_target_": "segexp.models.UNet", "kernel_size": 2})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no module lab_part; put it beside the folder given with --config-dir, or on PYTHONPATH"),
        ("import not_installed", r"lab_part cannot be imported \(No module named 'not_installed'\)"),
        ("def x(:", "lab_part fails on import: SyntaxError: "),
        ("raise RuntimeError('no licence')", "lab_part fails on import: RuntimeError: no licence"),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(tmp_path, monkeypatch, content, said):
    if content is not None:
        (tmp_path / "lab_part.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=said):
        target_class("lab_part.Mine", ("lab_part",))
