"""What `segexp suggest` writes: ``suggestions.csv``, crops of regions as TIFF, and a page with pictures."""

import base64
import contextlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from segexp.errors import printable
from segexp.inference.job import Job
from segexp.inference.outputs import Outputs, csv_bytes
from segexp.inference.predictor import Predictor
from segexp.io.ownership import OwnedFolder
from segexp.measurements import Row
from segexp.report.page import fill
from segexp.suggestion.candidates import Candidate, Part
from segexp.suggestion.ranking import Suggestion
from segexp.viz.overlay import PREDICTION, Picture, outline, to_display

TABLE, PAGE, CROPS = "suggestions.csv", "suggestions.html", "crops"
_SIDE = 420  # of a picture on the page, px


def require_room(folder: OwnedFolder) -> None:
    """Make sure before the work that nothing else lies where the results go.

    Raises:
        InputError: if something does.
    """
    crops = folder.folder / CROPS
    names = sorted(path.name for path in crops.iterdir()) if crops.is_dir() else []
    there = [f"{CROPS}/{name}" for name in names if re.fullmatch(r"\d{2,}_.*\.tif", name)]
    folder.require_free([TABLE, PAGE, *there])


def write(
    folder: OwnedFolder,
    predictor: Predictor,
    candidates: Sequence[Candidate],
    chosen: Sequence[Suggestion],
    annotated: Sequence[str],
    pixel_size: float | None = None,
    **facts: Any,
) -> list[Row]:
    """Write everything, and remove crops of an earlier call; returns the rows of the table.

    Args:
        folder: where to, as `require_room` found it.
        predictor: the model, for the pictures of the chosen ones.
        candidates, chosen: of `scan` and `rank`.
        annotated: names of the annotated images.
        pixel_size: micrometres, in place of what the files say.
        facts: kept in the folder's record.
    """
    median = float(np.median([each.disagreement for each in candidates]))
    names = [*annotated, *(candidates[each.candidate].path.name for each in chosen)]
    rows: list[Row] = []
    shown, crops = [], []
    for number, suggestion in enumerate(chosen, 1):
        candidate = candidates[suggestion.candidate]
        rows.append(
            {
                "rank": number,
                "file": str(candidate.path),
                "page": candidate.page or "",
                "region": candidate.region_text,
                "score": round(suggestion.score, 6),
                "disagreement": round(candidate.disagreement, 6),
                "distance": "" if np.isnan(suggestion.distance) else round(suggestion.distance, 4),
                "foreground": round(candidate.foreground, 4),
                "why": why(candidate, suggestion, median, names),
            }
        )
        with _opened(predictor, candidate, pixel_size) as (file, image, size):
            if candidate.region is not None:
                crops.append(f"{CROPS}/{number:02}_{candidate.path.stem}.tif")
                folder.write(crops[-1], tiff_bytes(file.read(*candidate.region), size), **facts)
            shown.append(_pictures(predictor, image, candidate))
    folder.write(TABLE, csv_bytes(rows), **facts)
    folder.write(PAGE, _page(rows, shown, len(candidates), len(annotated)), **facts)
    for name in folder.names():
        if name.startswith(f"{CROPS}/") and name not in crops:
            folder.remove(name)
    return rows


def why(candidate: Candidate, suggestion: Suggestion, median: float, names: Sequence[str]) -> str:
    """The two reasons for a choice in words; `names` are those of annotated and chosen images."""
    times = f"{candidate.disagreement / median:.2g} times the median" if median > 0 else "the median is 0"
    first = f"answers disagree by {candidate.disagreement:.2g} bits a pixel, {times}"
    if suggestion.nearest < 0:
        return first
    near = printable(names[suggestion.nearest], multiline=False)
    share = f"{100 * suggestion.farther:.0f} % of the candidates"
    return f"{first}; {share} look more like something annotated or suggested before; nearest to it is {near}"


@contextlib.contextmanager
def _opened(predictor: Predictor, candidate: Candidate, pixel_size: float | None) -> Any:
    job = Job(candidate.path, predictor, Outputs(pixel_size=pixel_size))
    with contextlib.closing(job.file), job.page((candidate.page or 1) - 1) as (file, image):
        yield file, image, job.size


def tiff_bytes(pixels: NDArray, pixel_size: tuple[float, float] | None) -> bytes:
    """Pixels (H, W) or (H, W, C) of any dtype as a TIFF; `pixel_size` in micrometres (y, x)."""
    colour = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    more: dict[str, Any] = {"photometric": "rgb" if colour else "minisblack", "metadata": None}
    if pixels.ndim == 3:
        more["planarconfig"] = "contig"
    if pixel_size is not None:
        more |= {"resolution": (1e4 / pixel_size[1], 1e4 / pixel_size[0]), "resolutionunit": "CENTIMETER"}
    content = io.BytesIO()
    tifffile.imwrite(content, pixels.astype(np.uint8) if pixels.dtype == bool else pixels, **more)
    return content.getvalue()


def _pictures(predictor: Predictor, image: Any, candidate: Candidate) -> tuple[Picture, Picture, NDArray[np.float32]]:
    """The image, the same with outlines of the prediction, and the disagreement in bits, at the page's size."""
    part = Part(image, candidate.box)
    bands = [(mean, bits) for _, mean, bits in predictor.disagreement(image, part)]
    mean, bits = np.concatenate([band[0] for band in bands], axis=1), np.concatenate([band[1] for band in bands])
    height, width = bits.shape
    scale = _SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    plain = cv2.resize(to_display(part.rows(0, height)), size, interpolation=method)
    labels = predictor.labels(mean)
    marked = np.asarray(plain, np.uint8)
    for label in range(1, len(predictor.classes) + 1):
        mask = cv2.resize((labels == label).astype(np.float32), size, interpolation=method) >= 0.5
        marked = outline(marked, mask, PREDICTION)
    return np.asarray(plain, np.uint8), marked, np.asarray(cv2.resize(bits, size, interpolation=method), np.float32)


def _page(rows: Sequence[Row], shown: Sequence[tuple], candidates: int, annotated: int) -> str:
    brightest = max([float(np.percentile(bits, 99.5)) for *_, bits in shown] + [1e-6])
    items = []
    for row, (plain, marked, bits) in zip(rows, shown, strict=True):
        heat = cv2.applyColorMap(np.uint8(255 * np.clip(bits / brightest, 0, 1)), cv2.COLORMAP_INFERNO)[..., ::-1]  # type: ignore[call-overload]
        where = [Path(str(row["file"])).name, row["page"] and f"page {row['page']}", row["region"]]
        title = printable(", ".join(str(part) for part in where if part), multiline=False)
        items.append({"title": title, "why": row["why"], "pictures": [_data(each) for each in (plain, marked, heat)]})
    return fill(
        "suggestions.html",
        title="What to annotate next",
        items=items,
        candidates=candidates,
        annotated=annotated,
        brightest=f"{brightest:.2g}",
    )


def _data(picture: Picture) -> str:
    _, encoded = cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 85])
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
