"""Prepares MNIST or Fashion-MNIST with TensorFlow Datasets, without TensorFlow.

Only one part of its builder needs TensorFlow, the one that reads the original files. Here that part is
replaced, on one instance; the URLs, the checksums, the keys (and with them the order) and the format stay
TensorFlow Datasets' own, so what is prepared is what its users expect to find.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxcnn.data import _network, _originals
from jaxcnn.data._dataset import DataError
from jaxcnn.data._progress import status, track


def prepare(name: str, data_dir: Path, originals: Mapping[str, Path] | None) -> None:
    """Prepares it in `data_dir`, from the original files by their names, or from the network if that is None."""
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    if originals is not None:
        _originals.check(name, originals)
    elif problem := _network.complaint(builder.url_infos):
        raise DataError(f"{name}: {problem}: connect, or use source=FOLDER with the four original files")
    downloads = data_dir / "downloads"
    config = tfds.download.DownloadConfig(
        # the files of both sets have the same names: in one folder, one set's would be taken for the other's
        extract_dir=downloads / "extracted" / name,
        try_download_gcs=False,
    )
    builder._split_generators = lambda download_manager: _splits(
        name, originals or _fetched(name, builder.url_infos, download_manager)
    )
    with _quiet():
        builder.download_and_prepare(download_dir=downloads, download_config=config, file_format="array_record")


def _fetched(name: str, url_infos: Any, download_manager: Any) -> dict[str, Path]:
    paths = {}
    with status(f"fetching {name}"):
        for url, info in url_infos.items():
            # one at a time: of several, those that a failure leaves behind would go on trying for minutes
            paths[info.filename] = Path(download_manager.download(url))
    return paths


def _splits(name: str, paths: Mapping[str, Path]) -> dict[str, Iterator[tuple[int, Any]]]:
    return {split: _encoded(name, split, *(paths[file] for file in pair)) for split, pair in _originals.FILES.items()}


def _encoded(name: str, split: str, images: Path, labels: Path) -> Iterator[tuple[int, Any]]:
    from PIL import Image

    examples = _originals.examples(images, labels)
    total = _originals.COUNTS[split]
    for key, (pixels, label) in enumerate(track(examples, f"preparing {name}, {split}", total)):
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG", compress_level=1)
        png.seek(0)
        yield key, {"image": png, "label": label}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TensorFlow Datasets from printing and from drawing its own bars."""
    from tensorflow_datasets.core.utils import tqdm_utils

    drawn = tqdm_utils._active
    tqdm_utils.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tqdm_utils.display_progress_bar(drawn)
