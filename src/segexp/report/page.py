"""Fills a template: style sheet and script go inside, every value is escaped, and the page may load and run no more."""

import base64
import hashlib
import json
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from segexp.report import names
from segexp.report.charts import decimal, number


def fill(template: str, **values: Any) -> str:
    """A template with `values`, all of them escaped, and the style sheet and script inside."""
    environment = Environment(
        loader=PackageLoader("segexp.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "decimal": decimal,
        "setting": setting,
        "label": names.label,
    }
    environment.globals["lower"] = names.lower
    folder = resources.files("segexp.report") / "templates"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(**values, style=style, script=script, script_hash=digest)


def setting(value: Any) -> str:
    """A setting as Hydra takes it on the command line: null, true, [a, b]."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "")
