"""Networks of other packages: trained, opened again only where allowed, and nothing downloaded."""

import socket

import numpy as np
import pytest
import torch
from torch import nn

from segexp import checkpoint
from segexp.config.targets import build, check_node
from segexp.errors import InputError
from segexp.experiment.build import build_model
from segexp.inference.predictor import load_model
from segexp.models import External, trusted
from segexp.models.external import is_allowed, network_class

HERE = __name__


class Plain(nn.Module):
    """Takes sizes of multiples of 4."""

    def __init__(self, in_channels, out_channels, width=4):
        super().__init__()
        self.down = nn.Conv2d(in_channels, width, 4, stride=4)
        self.up = nn.ConvTranspose2d(width, out_channels, 4, stride=4)

    def forward(self, images):
        return self.up(self.down(images))


class Small(Plain):
    def forward(self, images):
        return self.down(images)


class Several(Plain):
    def forward(self, images):
        return [super().forward(images)]


class Downloads(Plain):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        socket.create_connection(("127.0.0.1", 9), timeout=1)


class Unknown(Plain):
    """Reads a value while it is built, which no tensor without memory has."""

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        self.rate = torch.linspace(0, 1, 3)[1].item()


def node(name="Plain", **arguments):
    settings = {"_target_": "segexp.models.External", "network": f"{HERE}.{name}", "multiple": 4}
    return settings | {"arguments": arguments}


def write(path, model):
    facts = {"normalization": "standard", "classes": ["a"], "threshold": 0.5}
    named = {"name": "External", "settings": model.settings}
    checkpoint.save(path, {"model": named, "weights": model.state_dict(), **facts})
    return path


def test_sizes_that_it_cannot_take_are_padded():
    model = External(1, 2, f"{HERE}.Plain", 4, allowed=[HERE]).eval()
    for size in ((1, 1), (4, 7), (9, 30)):
        assert model(torch.rand(2, 1, *size)).shape == (2, 2, *size)
    image = torch.rand(1, 1, 8, 8)
    assert torch.equal(model(image), model.network(image))


def test_the_prior_is_the_share_of_foreground():
    model = build_model(node(), 1, 1, [0.1], [HERE])
    assert model.prior.item() == pytest.approx(np.log(0.1 / 0.9))


def test_a_file_of_it_carries_a_name_that_the_reader_must_allow(tmp_path):
    model = External(1, 1, f"{HERE}.Plain", 4, {"width": 3}, allowed=[HERE]).eval()
    path = write(tmp_path / "m.pth", model)
    with pytest.raises(InputError, match=f"--allow-targets {HERE} "):
        load_model(path)
    predictor = load_model(path, "cpu", allow_targets=[HERE])
    image = np.random.default_rng(0).random((50, 70), np.float32)
    assert predictor.predict(image).shape == (50, 70)
    assert trusted(predictor.model) == (f"{HERE}.Plain",)
    checkpoint.load_model(path, trusted(model))  # the class alone


def test_what_a_file_names_is_not_imported_before_it_is_allowed(tmp_path, monkeypatch):
    (tmp_path / "evil_network.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = External(1, 1, f"{HERE}.Plain", 4, allowed=[HERE])
    for name in ("evil_network.Plain", "os.system", "torch.hub.load"):
        model.settings["network"] = name
        with pytest.raises(InputError, match="only if you allow it"):
            load_model(write(tmp_path / "m.pth", model))
    model.settings = model.settings | {"network": "evil_network.Plain", "allowed": ["evil_network"]}
    with pytest.raises(InputError, match="not a file's to say"):
        load_model(write(tmp_path / "m.pth", model))


def test_a_file_that_asks_for_more_than_it_holds_is_refused(tmp_path):
    model = External(1, 1, f"{HERE}.Plain", 4, allowed=[HERE])
    model.settings["arguments"] = {"width": 10**9}
    with pytest.raises(InputError, match="weights do not fit"):
        load_model(write(tmp_path / "m.pth", model), allow_targets=[HERE])


@pytest.mark.parametrize(
    ("allowed", "answer"),
    [(["a.b"], True), (["a.b.C"], True), (["a."], True), (["a.b.Cc"], False), (["a.bb"], False), (["", "."], False)],
)
def test_a_prefix_ends_at_a_dot(allowed, answer):
    assert is_allowed("a.b.C", allowed) is answer


def test_an_installed_entry_point_allows_its_class(monkeypatch):
    with pytest.raises(InputError, match="only if you allow"):
        network_class(f"{HERE}.Plain", ())
    monkeypatch.setattr("segexp.models.external.installed_names", lambda: (f"{HERE}.Plain",))
    assert network_class(f"{HERE}.Plain", ()) is Plain
    with pytest.raises(InputError, match="only if you allow"):
        network_class(f"{HERE}.Small", ())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Small", r"makes \(1, 4, 2, 2\) of images \(1, 1, 8, 8\); expected logits \(1, 1, 8, 8\)"),
        ("Several", "makes a list of images"),
        ("Downloads", "opens a connection"),
        ("Unknown", "without memory first"),
        ("Plane", "did you mean Plain"),
        ("HERE", "no torch.nn.Module of this name"),
    ],
)
def test_a_network_that_does_not_fit_is_one_message(name, message):
    with pytest.raises(InputError, match=message) as caught:
        build_model(node(name), 1, 1, [0.1], [HERE])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widht": 3}, "did you mean width"),
        ({"encoder_weights": "imagenet"}, "downloads nothing, expected null"),
        ({"pretrained": True}, "expected false"),
        ({"width": "http://x"}, "downloads nothing"),
        ({"width": float("nan")}, "expected numbers"),
        ({"width": ["x" * 30_000]}, "at most 20000"),
    ],
)
def test_arguments_are_checked_before_anything_is_built(arguments, message):
    with pytest.raises(InputError, match=message):
        check_node(node(**arguments), "model", (HERE,))


def test_settings_may_not_allow_themselves():
    with pytest.raises(InputError, match=r"model\.allowed"):
        check_node(node() | {"allowed": [HERE]}, "model")
    with pytest.raises(InputError, match="only if you allow"):
        build(node(), in_channels=1, classes=1)


def test_monai_and_others_are_options(tmp_path):
    pytest.importorskip("monai")
    from segexp.config.compose import compose_config

    cfg = compose_config(["task=vesicle", "model=monai", "model.arguments.features=[4,4,4,4,4,4]"])
    model = build_model(cfg.model, 1, 1, [0.1]).eval()
    assert model(torch.rand(1, 1, 50, 70)).shape == (1, 1, 50, 70)
    path = write(tmp_path / "m.pth", model)
    with pytest.raises(InputError, match=r"--allow-targets monai\.networks\.nets "):
        load_model(path)
    assert load_model(path, "cpu", allow_targets=["monai"]).predict(np.eye(40)).shape == (40, 40)


@pytest.mark.parametrize("option", ["smp", "timm_unet"])
def test_segmentation_models_pytorch(option):
    try:
        import segmentation_models_pytorch  # noqa: F401
    except (ImportError, RuntimeError):  # torchvision without its own operators raises RuntimeError
        pytest.skip("segmentation_models_pytorch is not installed, or its torchvision is of another PyTorch")
    from segexp.config.compose import compose_config

    model = build_model(compose_config(["task=vesicle", f"model={option}"]).model, 1, 1, [0.1]).eval()
    assert model(torch.rand(1, 1, 50, 70)).shape == (1, 1, 50, 70)
    with pytest.raises(InputError, match="downloads nothing"):
        compose_config(["task=vesicle", f"model={option}", "model.arguments.encoder_weights=imagenet"])
