"""Claim: `jaxcnn predict` reads a digit in any everyday light, and says so where it is not sure.

Machine: any CPU. Data: the first held-out digits of mnist-10k that the run's network reads rightly and surely as they
are, so that what is lost is lost by the photograph; each is drawn once per scene, and read as a PNG file.
"""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.progress import track

from experiments import report
from experiments.photos.scenes import SCENES, row_of_digits
from jaxcnn import data, photos, predict, runs

RESULT = Path(__file__).parent / "results" / "photos.json"
LONGEST = 5  # digits in a row


def known(run: runs.Run, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first digits that a network reads rightly and surely as they are, and their labels."""
    images, labels = data.load(run.config["data"]["name"]).test
    rows = np.concatenate(list(predict.in_batches(run, images)))
    is_known = (rows.argmax(axis=1) == labels) & (rows.max(axis=1) >= predict.SURE)
    return images[is_known][:count], labels[is_known][:count]


def as_file(photo: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    return file


def answer(run: runs.Run, photo: np.ndarray) -> tuple[int | None, bool]:
    """The digit on a photograph, None where it is refused, and whether that is sure."""
    try:
        image = photos.read(as_file(photo), name="it")
    except photos.PictureError:
        return None, False
    (row,) = predict.of_photographs(run, image[None])
    return int(row.argmax()), not predict.is_unsure(row)


def count(run: runs.Run, name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    answers = [answer(run, SCENES[name](image[:, :, 0], rng)) for image in images]
    pairs = list(zip(answers, labels.tolist(), strict=True))
    return {
        "scene": name,
        "photographs": len(images),
        "right": sum(digit == label for (digit, _), label in pairs),
        "right and unsure": sum(digit == label and not is_sure for (digit, is_sure), label in pairs),
        "wrong and sure": sum(digit != label and is_sure for (digit, is_sure), label in pairs),
        "refused": sum(digit is None for (digit, _), _ in pairs),
        "milliseconds each": round(1e3 * (time.perf_counter() - began) / len(images)),
    }


def count_rows(run: runs.Run, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Rows of two to five digits in a shadow: how many are split rightly, and how many read rightly to the last."""
    rng, split, right = np.random.default_rng(1), 0, 0
    rows = len(images) // 2
    for _ in range(rows):
        chosen = rng.integers(0, len(images), rng.integers(2, LONGEST + 1))
        photo = row_of_digits([images[k, :, :, 0] for k in chosen], rng)
        found = photos.find(as_file(photo), name="it", several=True)
        digits = predict.of_photographs(run, np.stack([digit.image for digit in found.digits])).argmax(axis=1)
        split += len(digits) == len(chosen)
        right += np.array_equal(digits, labels[chosen])
    return {"rows": rows, "split rightly": split, "read rightly": right}


def main(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, from jaxcnn train.")],
    digits: Annotated[int, typer.Option(min=2, help="How many digits.")] = 200,
    out: Path = RESULT,
) -> None:
    """Read every scene's photographs, and write the counts."""
    run = runs.read(folder)
    images, labels = known(run, digits)
    scenes = [
        count(run, name, images, labels) for name in track(SCENES, "photographs", disable=not sys.stderr.isatty())
    ]
    rows = count_rows(run, images, labels)
    report.write(out, 0, {"network": run.network.name, "scenes": scenes, "rows": rows})
    if out == RESULT:
        write_table()


def write_table() -> None:
    """Write the table of this folder's README from its result."""
    result = json.loads(RESULT.read_text())
    head = ("scene", "photographs", "right", "of these unsure", "wrong and sure", "refused", "ms each")
    lines = [tuple(str(value) for value in scene.values()) for scene in result["scenes"]]
    rows = result["rows"]
    told = (
        f"Of {rows['rows']} rows of two to five digits in a shadow of 30 %, {rows['split rightly']} are split rightly "
        f"and {rows['read rightly']} are read rightly from the first digit to the last."
    )
    made_by = report.MADE_BY.format(**result["made_by"]) + "."
    report.insert(RESULT.parents[1] / "README.md", "photos", f"{report.table(head, lines)}\n\n{told}\n\n{made_by}")


if __name__ == "__main__":
    typer.run(main)
