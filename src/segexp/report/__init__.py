"""`report.html`: one page that shows a run, a sweep or an evaluation to the person who asked for it.

The page is built from the records in the folder alone (``summary.json``, ``run.json``, ``metrics.csv``, ``train.log``
and ``val/``); the images the model was trained on need not be there. It opens from disk without a network: styles,
script, charts and pictures are inside, and its content policy forbids everything else. A section whose records are
missing is left out.
"""

from pathlib import Path

from segexp.errors import InputError
from segexp.io.ownership import OwnedFolder

PAGE = "report.html"

__all__ = ["PAGE", "write_report"]


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into the folder of a run, a sweep or an evaluation and return its path.

    Raises:
        InputError: if the folder holds none of them, records that cannot be read, or a page of that name that
            segexp did not write.
    """
    # imported here: Matplotlib takes half a second, and results.py needs only the pictures
    from segexp.report.run_page import render_evaluation, render_run
    from segexp.report.sweep_page import render_sweep

    folder = Path(folder)
    OwnedFolder(folder).require_free([PAGE], "report")
    if (folder / "summary.json").is_file():
        html = render_run(folder)
    elif (folder / "summary.csv").is_file():
        html = render_sweep(folder)
    elif (folder / "scores.json").is_file():
        html = render_evaluation(folder)
    elif not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    else:
        expected = "summary.json (a finished run), summary.csv (a sweep) or scores.json (segexp evaluate)"
        raise InputError(f"{folder}: holds no {expected}")
    OwnedFolder(folder).write(PAGE, html)
    return folder / PAGE
