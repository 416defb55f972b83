"""Tables whose columns name their unit: pixels always, micrometres beside them if the pixel size is known."""

from collections.abc import Iterable, Mapping, Sequence

from segexp.io.records import Row, csv_text

UNITS = {"px": "um", "px2": "um2", "per_px": "per_um", "per_px2": "per_um2"}
"""Suffixes of columns in pixels, and of the same in micrometres."""
_POWERS = {"px": 1, "px2": 2, "per_px": -1, "per_px2": -2}


def with_micrometres(row: Mapping[str, str | int | float], pixel_size: float | None) -> Row:
    """The row with, behind each column in pixels, the same in micrometres: ``area_px2``, ``area_um2``.

    `pixel_size` is the side of a pixel in micrometres; None leaves the row as it is.
    """
    full: Row = {}
    for name, value in row.items():
        full[name] = value
        unit = next((unit for unit in sorted(UNITS, key=len, reverse=True) if name.endswith(f"_{unit}")), None)
        if pixel_size is not None and unit is not None:
            full[f"{name.removesuffix(unit)}{UNITS[unit]}"] = float(value) * pixel_size ** _POWERS[unit]
    return full


def write_rows(rows: Sequence[Mapping[str, str | int | float]], columns: Iterable[str] = ()) -> str:
    """CSV text; the columns are `columns` and those of all rows, and a row without one leaves it empty.

    Numbers have six significant digits; text that a spreadsheet would take for a formula has an apostrophe in front.
    """
    columns = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    short = (
        {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows
    )
    return csv_text(short, columns, "\n")
