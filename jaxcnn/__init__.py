"""Convolutional networks in JAX whose every gradient is derived by hand and proven against autodiff.

jaxcnn.accelerate   any JAX function, its convolutions and pools by these operations
jaxcnn.sites        what became of each of them
jaxcnn.ops          the operations, with hand-derived gradients
jaxcnn.reference    the same as plain forwards, for autodiff
jaxcnn.check        is a gradient rule right?
jaxcnn.bench        how fast the rules are, against autodiff
jaxcnn.examples     every op and net at one small point
jaxcnn.nets         the papers' networks
jaxcnn.train        the training step and the loop around it (loads optax)
jaxcnn.data         MNIST, without TensorFlow
jaxcnn.cost         multiply-adds and bytes of ops and nets
jaxcnn.session      a training from its options to its run's folder, as `jaxcnn train` does it
jaxcnn.runs         a training run's folder
jaxcnn.checkpoints  what training needs to go on (loads orbax-checkpoint)
jaxcnn.predict      what a trained network makes of pictures (loads optax)
jaxcnn.photos       photos and drawings of digits, made as MNIST's (loads Pillow and OpenCV)
jaxcnn.export       a trained network as one file for CPU, GPU and TPU
jaxcnn.plots        its curves, its confusion matrix, a digit explained (loads matplotlib)
jaxcnn.report       a page on one or several of them (loads jinja2)
jaxcnn.provenance   what made a result: commit, versions, devices, day
jaxcnn.tensorboard  its epochs for TensorBoard (loads tensorboardX)

jaxcnn.JaxcnnError  what every error of data, runs, checkpoints, pictures, training, sessions and benchmarks is
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's would have to be loaded
if TYPE_CHECKING:
    from typing import Any

    from jaxcnn import bench as bench
    from jaxcnn import check as check
    from jaxcnn import checkpoints as checkpoints
    from jaxcnn import cost as cost
    from jaxcnn import data as data
    from jaxcnn import examples as examples
    from jaxcnn import export as export
    from jaxcnn import nets as nets
    from jaxcnn import ops as ops
    from jaxcnn import photos as photos
    from jaxcnn import plots as plots
    from jaxcnn import predict as predict
    from jaxcnn import provenance as provenance
    from jaxcnn import reference as reference
    from jaxcnn import report as report
    from jaxcnn import runs as runs
    from jaxcnn import session as session
    from jaxcnn import tensorboard as tensorboard
    from jaxcnn import train as train
    from jaxcnn._accelerate import accelerate as accelerate
    from jaxcnn._accelerate import sites as sites

__version__ = "0.1.0"


class JaxcnnError(Exception):
    """What the user can mend: a file, a folder, a picture or a training that cannot be used; one line says why.

    Each error that derives from it also is one of Python's own: `jaxcnn.data.DataError`, `jaxcnn.runs.RunError`,
    `jaxcnn.checkpoints.CheckpointError`, `jaxcnn.session.TrainingError` and `jaxcnn.bench.BenchError` are
    `RuntimeError`s, `jaxcnn.photos.PictureError` and `jaxcnn.session.SessionError` are `ValueError`s,
    `jaxcnn.train.NotFiniteError` is an `ArithmeticError`. Arguments that a function cannot take are `ValueError`s and
    `TypeError`s, as everywhere.

    Example:
        >>> import jaxcnn
        >>> try:
        ...     jaxcnn.runs.read("nowhere")
        ... except jaxcnn.JaxcnnError as error:
        ...     print(error)
        nowhere is no run's folder: config.json cannot be read (No such file or directory)
    """


_LOADED_ON_USE = (
    "bench",
    "check",
    "checkpoints",
    "cost",
    "data",
    "examples",
    "export",
    "nets",
    "ops",
    "photos",
    "plots",
    "predict",
    "provenance",
    "reference",
    "report",
    "runs",
    "session",
    "tensorboard",
    "train",
)


_FUNCTIONS = ("accelerate", "sites")


def __getattr__(name: str) -> Any:
    import importlib

    if name in _FUNCTIONS:
        return getattr(importlib.import_module("jaxcnn._accelerate"), name)
    if name in _LOADED_ON_USE:
        return importlib.import_module(f"jaxcnn.{name}")
    raise AttributeError(f"module 'jaxcnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FUNCTIONS, *_LOADED_ON_USE])
