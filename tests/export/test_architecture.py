"""The network's source in one file: it builds, fits the weights and gives the same result without segexp."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from segexp.errors import InputError
from segexp.export.architecture import _refuse_what_cannot_stand_alone, standalone_source
from segexp.export.graph import Graph
from segexp.models import MODELS
from tests.export.test_graph import make_predictor

SCRIPT = """
import importlib.util, sys
sys.modules["segexp"] = None  # importing it fails from here on
import torch
spec = importlib.util.spec_from_file_location("unet", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
given = torch.load(sys.argv[2], weights_only=True)
network = getattr(module, given["callable"])(**given["settings"]).eval()
network.load_state_dict(given["weights"])
with torch.no_grad():
    torch.save(network(given["images"]), sys.argv[2])
"""


def test_it_works_where_there_is_no_segexp(tmp_path):
    predictor = make_predictor("log")
    text, callable_name = standalone_source(predictor.model, "log", 4)
    (tmp_path / "unet.py").write_text(text)
    images = torch.rand(1, 1, 32, 40)
    given = {
        "callable": callable_name,
        "settings": predictor.model.settings,
        "weights": predictor.model.state_dict(),
        "images": images,
    }
    torch.save(given, tmp_path / "given.pt")
    command = [sys.executable, "-I", "-c", SCRIPT, str(tmp_path / "unet.py"), str(tmp_path / "given.pt")]
    subprocess.run(command, check=True, cwd=tmp_path)
    found = torch.load(tmp_path / "given.pt", weights_only=True)
    with torch.no_grad():
        expected = Graph(predictor, takes="package", pad=False, sigmoid=False)(images)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"External"}))  # other packages' networks are refused
def test_every_network_can_stand_alone(name):
    network = MODELS[name]()
    text, callable_name = standalone_source(network, "log", network.multiple)
    names: dict = {}
    exec(compile(text, "unet.py", "exec"), names)  # our own source
    assert names[callable_name](**network.settings).state_dict().keys() == network.state_dict().keys()
    assert "segexp." not in text


@pytest.mark.parametrize("text", ["def f():\n    import segexp", "class A: pass\nclass A: pass"])
def test_what_cannot_stand_alone_is_refused(text):
    with pytest.raises(InputError):
        _refuse_what_cannot_stand_alone(text, "UNet")
