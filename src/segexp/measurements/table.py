"""Tables whose column names state the unit: pixels, and also micrometres if the pixel size is known."""

from collections.abc import Iterable, Mapping, Sequence

from segexp.io.records import Row, csv_text

UNITS = {"px": "um", "px2": "um2", "per_px": "per_um", "per_px2": "per_um2"}
"""Suffixes of columns in pixels, and of the same columns in micrometres."""
_POWERS = {"px": 1, "px2": 2, "per_px": -1, "per_px2": -2}


def with_micrometres(row: Mapping[str, str | int | float], pixel_size: float | None) -> Row:
    """Add to a row, after each column in pixels, the same in micrometres: ``area_px2``, ``area_um2``.

    `pixel_size` is the side of a pixel in micrometres; None: the row is returned unchanged.
    """
    full: Row = {}
    for name, value in row.items():
        full[name] = value
        unit = next((unit for unit in sorted(UNITS, key=len, reverse=True) if name.endswith(f"_{unit}")), None)
        if pixel_size is not None and unit is not None:
            full[f"{name.removesuffix(unit)}{UNITS[unit]}"] = float(value) * pixel_size ** _POWERS[unit]
    return full


def write_rows(rows: Sequence[Mapping[str, str | int | float]], columns: Iterable[str] = ()) -> str:
    """Return the rows as CSV text, with the columns `columns` and those of all rows; missing values are empty.

    Numbers have six significant digits. Text that a spreadsheet would take for a formula gets a leading apostrophe.
    """
    columns = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    short = (
        {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows
    )
    return csv_text(short, columns, "\n")
