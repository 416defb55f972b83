"""Fill a template: style sheet and script are inlined, every value is escaped, and the page may load nothing else."""

import base64
import hashlib
import json
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from segexp.errors import printable
from segexp.report import metric_labels
from segexp.report.charts import decimal, number

_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of text, and bytes of names that are not UTF-8."""


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
        "label": metric_labels.label,
    }
    environment.globals["lower"] = metric_labels.lower
    folder = resources.files("segexp.report") / "templates"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = environment.get_template(template).render(**values, style=style, script=script, script_hash=digest)
    return _UNSHOWN.sub(lambda match: printable(match[0]), html)


def setting(value: Any) -> str:
    """A setting as Hydra takes it on the command line: null, true, [a, b]."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "")
