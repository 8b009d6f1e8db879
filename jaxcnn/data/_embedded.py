"""The data set inside the package: experiments/mnist_10k makes it, embedded/LICENSE says whose it is."""

from importlib import resources

from jaxcnn.data import _arrays
from jaxcnn.data._dataset import DIGITS, Dataset

NAME = "mnist-10k"


def load() -> Dataset:
    with (resources.files("jaxcnn.data") / "embedded" / "mnist-10k.npz").open("rb") as file:
        return _arrays.read(file, DIGITS)
