"""The pictures: what they are drawn from is right, they have the size they say, and no label lies on another."""

import io
import itertools
import re
from collections.abc import Iterator
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import jaxcnn.ops
import jaxcnn.reference
from jaxcnn import data, plots
from jaxcnn.nets import single_filter


@pytest.fixture(scope="module")
def params() -> single_filter.Params:
    return single_filter.init(jax.random.key(0))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return data.load().test.images[3].astype("float32") / 255


def pixels(figure: Figure) -> np.ndarray:
    with Image.open(io.BytesIO(plots.png(figure))) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def labels(figure: Figure) -> Iterator[tuple[str, np.ndarray]]:
    """Every text that is drawn on the page itself, and its box."""
    FigureCanvasAgg(figure).draw()
    for text in figure.axes[0].texts:
        if text.get_text():
            yield text.get_text(), text.get_window_extent().get_points()


def test_a_trace_holds_what_apply_sees(params: single_filter.Params, image: np.ndarray) -> None:
    seen = plots.trace(params, image, 3)
    expected = single_filter.layers(params, jnp.asarray(image)[None])
    expected |= {"x_conv": jnp.asarray(image), "y_hat": jax.nn.softmax(expected["z"])}
    for name in ("x_conv", "x_pool", "x_full", "z", "y_hat"):
        np.testing.assert_allclose(getattr(seen, name).ravel(), expected[name].ravel(), rtol=1e-5, atol=1e-6)
    assert seen.prediction.tolist() == np.eye(10)[np.argmax(expected["z"])].tolist()


@pytest.mark.parametrize("ops", [jaxcnn.ops, jaxcnn.reference])
def test_a_trace_holds_the_gradients_of_the_whole(
    params: single_filter.Params, image: np.ndarray, ops: ModuleType
) -> None:
    def loss(params: single_filter.Params, x: jax.Array) -> jax.Array:
        return ops.softmax_cross_entropy(single_filter.apply(params, x, ops=ops)[0], jnp.array([3]))[0]

    by_param, by_image = jax.grad(loss, argnums=(0, 1))(params, jnp.asarray(image)[None])
    seen = plots.trace(params, image, 3, ops=ops)
    for found, expected in (
        (seen.df, by_param["f"]),
        (seen.dw, by_param["w"]),
        (seen.db, by_param["b"]),
        (seen.dx_conv, by_image),
    ):
        np.testing.assert_allclose(found.ravel(), expected.ravel(), rtol=1e-4, atol=1e-6)


def test_the_routed_gradient_stands_at_the_maxima(params: single_filter.Params, image: np.ndarray) -> None:
    seen = plots.trace(params, image, 3)
    windows = seen.x_pool[:22, :22].reshape(11, 2, 11, 2).transpose(0, 2, 1, 3).reshape(11, 11, 4)
    routed = seen.dx_pool[:22, :22].reshape(11, 2, 11, 2).transpose(0, 2, 1, 3).reshape(11, 11, 4)
    expected = np.eye(4)[windows.argmax(axis=-1)] * seen.dx_full[:, :, None]
    np.testing.assert_allclose(routed, expected, rtol=1e-6)
    assert not seen.dx_pool[22].any() and not seen.dx_pool[:, 22].any()


def test_a_difference_with_nan_is_nan(params: single_filter.Params, image: np.ndarray) -> None:
    seen = plots.trace(params, image, 3)
    broken = seen._replace(df=np.where(np.eye(6) == 1, np.nan, seen.df))
    apart = plots.differences(seen, broken)
    assert np.isnan(apart.pop("df")) and set(apart.values()) == {0.0}


def test_explain_draws_the_whole_page_with_no_label_on_another(params: single_filter.Params, image: np.ndarray) -> None:
    figure = plots.explain(params, image, 3, title="a 3")
    width, height = figure.get_size_inches() * figure.dpi
    boxes = list(labels(figure))
    assert any("[V 38]" in text for text, _ in boxes)
    for text, ((left, low), (right, high)) in boxes:
        assert left >= 0 and right <= width and low >= 0 and high <= height, f"{text!r} leaves the page"
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = (a[1] <= b[0] + 0.5) | (b[1] <= a[0] + 0.5)
        assert apart.any(), f"{one!r} lies on {other!r}"
    drawn = pixels(figure)
    assert drawn.shape == (round(figure.get_size_inches()[1] * 100), 1600, 3)
    assert drawn[0].min() == 255 and drawn[-1].min() == 255, "something is cut off"


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_explain_draws_an_image_of_one_brightness(params: single_filter.Params, value: float) -> None:
    nothing = np.full((28, 28, 1), value, "float32")
    assert pixels(plots.explain(params, nothing, 0, title="flat")).shape[1] == 1600


def test_explain_draws_a_network_that_learnt_nothing(image: np.ndarray) -> None:
    zeros = jax.tree.map(jnp.zeros_like, single_filter.init(jax.random.key(0)))
    assert pixels(plots.explain(zeros, image, 0, title="zeros")).shape[1] == 1600


def test_a_confusion_matrix_counts() -> None:
    names = ("T-shirt/top", "Ankle boot", "never")
    figure = plots.confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 1]), names, title="a run")
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["", "2", "", "", "1", "", "", "", ""]
    assert pixels(figure).shape == (700, 720, 3)


def test_a_learning_curve_without_a_result() -> None:
    lines = [{"epoch": epoch, "loss": 1 / epoch, "accuracy": 1 - 0.5 / epoch} for epoch in (1, 2, 3)]
    figure = plots.learning_curve(lines, title="interrupted")
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]
    assert pixels(figure).shape == (380, 900, 3)


def test_a_learning_curve_shows_validation_where_there_was_some() -> None:
    line = {"loss": 1.0, "accuracy": 0.5, "validation_loss": 2.0, "validation_accuracy": 0.4}
    figure = plots.learning_curve([{"epoch": epoch, **line} for epoch in (1, 2)], title="validated")
    assert [axes.lines[1].get_label() for axes in figure.axes] == ["validation, after the epoch"] * 2
    drawn = [list(np.asarray(axes.lines[1].get_ydata())) for axes in figure.axes]
    assert drawn == [[2.0, 2.0], [0.4, 0.4]]


def test_curves_are_drawn_from_the_metrics() -> None:
    looks = [plots.look(number) for number in range(24)]
    assert len(set(looks)) == 24
    lines: list[dict[str, float]] = [{"epoch": n, "loss": 1 / n, "validation_loss": 2 / n} for n in (1, 2, 3)]
    tested = [*lines[:2], {**lines[2], "test_loss": 4}]
    (axes,) = plots.learning_curves([(looks[1], lines), (looks[2], tested)], "loss").axes
    drawn = [(line.get_color(), line.get_linestyle(), list(np.asarray(line.get_ydata()))) for line in axes.lines]
    assert drawn == [
        (looks[1].colour, "-", [1, 1 / 2, 1 / 3]),
        (looks[1].colour, "--", [2, 1, 2 / 3]),
        (looks[2].colour, "-", [1, 1 / 2, 1 / 3]),
        (looks[2].colour, "--", [2, 1, 2 / 3]),
        (looks[2].colour, "None", [4]),
    ]


def test_an_svg_stands_in_a_page_with_others() -> None:
    lines = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    elements = [plots.svg(plots.learning_curves([(plots.look(0), lines)], "loss"), name) for name in ("a", "b")]
    named = [set(re.findall(r'\bid="([^"]*)"', element)) for element in elements]
    assert named[0] and not named[0] & named[1]
    for element, ids in zip(elements, named, strict=True):
        assert element.startswith("<svg") and ">epoch</text>" in element and "<style" not in element
        used = re.findall(r'(?:url\(|xlink:href=")#([^")]*)', element)
        assert used and set(used) <= ids


def test_a_notebook_shows_a_figure_as_its_picture(params: single_filter.Params, image: np.ndarray) -> None:
    figure = plots.explain(params, image, 0, title="a digit")
    assert figure._repr_png_() == plots.png(figure)  # type: ignore[attr-defined]  # a Figure that notebooks ask this of
