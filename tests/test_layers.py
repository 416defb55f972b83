"""Which part may import which: each only from its own floor or below, Hydra and Kornia only where they belong."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "segexp"
FLOORS = [
    {"errors"},
    {"terminal", "synthesis", "metrics", "augment", "losses", "models", "device", "distributed", "pretrained"},
    {"io"},
    {"data", "measurements"},
    {"model_facts", "viz", "training", "annotations"},
    {"checkpoint", "calibration"},
    {"inference"},
    {"evaluation"},
    {"config", "report", "export", "plugin"},
    {"check", "suggestion"},
    {"experiment"},
    {"sweep"},
    {"train", "doctor"},
    {"legacy_cli", "cli"},
]


def module_name(path):
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def floor(name):
    for number, packages in enumerate(FLOORS):
        if name.split(".")[0] in packages:
            return number
    raise AssertionError(f"segexp.{name} stands on no floor: add it to FLOORS")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}".removeprefix("segexp.").replace(".", "/")
                part = (SOURCE / f"{whole}.py").exists() or (SOURCE / whole / "__init__.py").exists()
                yield f"{node.module}.{alias.name}" if node.module.startswith("segexp") and part else node.module


def test_imports_point_downwards():
    files = [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]
    assert len(files) > 30
    for path in files:
        name = module_name(path)
        for imported in imports(path):
            if imported.startswith("segexp."):
                target = imported.removeprefix("segexp.")
                same = name.split(".")[0] == target.split(".")[0]
                assert same or floor(target) < floor(name), f"{name} imports {target}"


def test_hydra_and_kornia_stay_where_they_belong():
    for path in SOURCE.rglob("*.py"):
        roots = {imported.split(".")[0] for imported in imports(path)}
        part = module_name(path).split(".")[0]
        if roots & {"hydra", "omegaconf"}:
            assert part in {"config", "train", "cli", "sweep"}, path
        if "kornia" in roots:
            assert part in {"augment", "synthesis"}, path
