"""The figures of [V] for one image, with live numbers: forwards as its figures 1-5, backwards as its section 3."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

import jaxcnn.ops
import jaxcnn.reference
from jaxcnn.nets import single_filter
from jaxcnn.plots import _style
from jaxcnn.plots._style import Number
from jaxcnn.plots._trace import Trace, differences, trace

WIDTH, HEIGHT = 16.0, 20.7  # inches
_LEFT, _RIGHT = 0.55, 15.45
_LINES_DRAWN = 150  # of the 1,210 from 121 features to 10 classes, the heaviest


def explain(params: single_filter.Params, image: np.ndarray, label: int, *, title: str) -> Figure:
    """Draw what `single_filter` makes of one image, and where its gradients come from.

    Args:
        params: as from `single_filter.init`.
        image: (28, 28, 1), floating, in [0, 1].
        label: its class.
        title: which image this is.

    Example:
        >>> import jax, numpy as np
        >>> params = single_filter.init(jax.random.key(0))
        >>> figure = explain(params, np.ones((28, 28, 1), "float32"), label=7, title="all white")
        >>> figure.get_size_inches().tolist()
        [16.0, 20.7]
    """
    by_hand = trace(params, image, label, ops=jaxcnn.ops)
    by_autodiff = trace(params, image, label, ops=jaxcnn.reference)
    f, w, b = (np.asarray(params[name]) for name in ("f", "w", "b"))
    with _style.styled():
        page = _Page(title, _summary(by_hand))
        _draw_architecture(page, 1.55, by_hand)
        corner = _strongest_corner(by_hand.x_pool)
        _draw_filter(page, 4.95, by_hand, f.reshape(6, 6), corner)
        _draw_pooling(page, 8.25, by_hand, corner)
        _draw_classes(page, 11.55, by_hand, w, b)
        _draw_backwards(page, 14.85, by_hand, by_autodiff)
    return page.figure


class _Page:
    """A figure measured in inches from its top left corner."""

    def __init__(self, title: str, subtitle: str) -> None:
        self.figure = _style.new_figure(WIDTH, HEIGHT)
        self.ground = self.figure.add_axes((0, 0, 1, 1))
        self.ground.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
        self.ground.axis("off")
        self.text(_LEFT, 0.4, title, size=17, weight="bold", ha="left")
        self.text(_LEFT, 0.77, subtitle, size=11, ha="left", colour=_style.FAINT)

    def axes(self, x: Number, y: Number, width: Number, height: Number) -> Axes:
        return self.figure.add_axes((x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT))

    def text(
        self,
        x: Number,
        y: Number,
        text: str,
        *,
        size: Number = 10,
        ha: str = "center",
        va: str = "center",
        weight: str = "normal",
        colour: str = _style.INK,
        rotation: Number = 0,
    ) -> None:
        self.ground.text(x, y, text, fontsize=size, ha=ha, va=va, fontweight=weight, color=colour, rotation=rotation)

    def heading(self, y: Number, text: str, note: str) -> None:
        self.ground.plot([_LEFT, _RIGHT], [y - 0.24] * 2, color=_style.GRID, linewidth=0.8)
        self.text(_LEFT, y, text, size=12, weight="bold", ha="left")
        self.text(_RIGHT, y, note, size=10.5, ha="right", colour=_style.FAINT)

    def arrow(self, x: Number, y: Number, to_x: Number, above: str = "", below: str = "") -> None:
        line = FancyArrowPatch((x, y), (to_x, y), arrowstyle="-|>", mutation_scale=13, shrinkA=0, shrinkB=0)
        line.set(color=_style.FAINT, linewidth=1.3)
        self.ground.add_patch(line)
        self.text((x + to_x) / 2, y - 0.1, above, va="bottom", size=9.5)
        self.text((x + to_x) / 2, y + 0.1, below, va="top", size=9.5, colour=_style.FAINT)


def _summary(seen: Trace) -> str:
    digit = int(np.argmax(seen.prediction))
    loss = -np.log(max(float(seen.y_hat @ seen.y), float(np.finfo(np.float32).tiny)))
    return (
        f"predicted: {digit}, with probability {seen.y_hat[digit]:.4f}   ·   loss {loss:.4f}  [V 4]   ·   "
        "signed numbers are red above zero, blue below"
    )


def _strongest_corner(x_pool: np.ndarray) -> tuple[int, int]:
    """The place of the greatest value of the feature map that is in a pooling window."""
    row, column = np.unravel_index(np.argmax(x_pool[:22, :22]), (22, 22))
    return int(row), int(column)


def _frame(axes: Axes, row: Number, column: Number, size: Number, colour: str, width: Number = 2.2) -> None:
    """Outline size x size cells of a drawn matrix."""
    corner = (column - 0.5, row - 0.5)
    axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=colour, linewidth=width, clip_on=False))


def _draw_architecture(page: _Page, top: Number, seen: Trace) -> None:
    """[V]'s figure 1, to scale: one pixel of every plane has the same size."""
    page.heading(top - 0.2, "Architecture", "[V] figure 1, to scale")
    pixel, middle = 0.082, top + 1.4
    planes = [
        (0.95, seen.x_conv, "image  $x_{conv}$", "28 × 28"),
        (5.05, seen.x_pool, "feature map  $x_{pool}$", "23 × 23"),
        (8.65, seen.x_full, "pooled", "11 × 11"),
    ]
    for x, values, name, size in planes:
        side = pixel * len(values)
        axes = page.axes(x, middle - side / 2, side, side)
        if values is seen.x_conv:
            _style.show_image(axes, values)
        else:
            _style.show_signed(axes, values)
        page.text(x + side / 2, middle - side / 2 - 0.13, name)
        page.text(x + side / 2, middle + side / 2 + 0.14, size, colour=_style.FAINT)
    strip_x, nodes_x, spread = 11.0, 13.15, 1.15
    _draw_strip(page, strip_x, middle - spread, 0.17, 2 * spread, seen)
    page.text(strip_x + 0.085, middle - spread - 0.13, "$x_{full}$")
    page.text(strip_x + 0.085, middle + spread + 0.14, "121", colour=_style.FAINT)
    heights = np.linspace(middle - spread + 0.1, middle + spread - 0.1, 10)
    fan = [
        [(strip_x + 0.17, start), (nodes_x - 0.12, end)]
        for start in np.linspace(middle - spread, middle + spread, 12)
        for end in heights
    ]
    page.ground.add_collection(LineCollection(fan, colors=_style.GRID, linewidths=0.5))
    for digit, y in enumerate(heights):
        _draw_node(page, nodes_x, y, 0.1, float(seen.y_hat[digit]))
        page.text(nodes_x + 0.26, y, str(digit), size=9)
    page.text(nodes_x, middle - spread - 0.13, r"$\hat{y}$")
    page.text(nodes_x, middle + spread + 0.14, "10", colour=_style.FAINT)
    page.arrow(3.4, middle, 4.9, "filter 6 × 6", "[V 1]")
    page.arrow(7.1, middle, 8.5, "max-pool 2 × 2", "[V 2.2]")
    page.arrow(9.7, middle, 10.85, "flatten", "[V 2.3]")
    page.text((strip_x + nodes_x) / 2, middle + spread + 0.14, "dense, softmax  [V 2, 3]", size=9.5)
    page.arrow(13.6, middle, 14.3, "one-hot", "[V 2.3]")
    page.text(14.8, middle, str(np.argmax(seen.prediction)), size=40, weight="bold")


def _draw_strip(page: _Page, x: Number, y: Number, width: Number, height: Number, seen: Trace) -> None:
    axes = page.axes(x, y, width, height)
    _style.show_signed(axes, seen.x_full.reshape(-1, 1), float(np.max(np.abs(seen.x_full))))
    axes.set_aspect("auto")


def _draw_node(page: _Page, x: Number, y: Number, radius: Number, amount: Number) -> None:
    colour = _style.amount_colour(amount)
    page.ground.add_patch(Circle((x, y), radius, facecolor=colour, edgecolor=_style.FAINT, linewidth=0.8, zorder=3))


def _draw_filter(page: _Page, top: Number, seen: Trace, f: np.ndarray, corner: tuple[int, int]) -> None:
    """[V]'s figure 2: a 6x6 patch, times the filter, summed, is one pixel of the feature map."""
    page.heading(
        top - 0.2, "The filter over the image", "[V] figure 2   ·   $x_{pool}$ = correlate($x_{conv}$, f)  [V 1]"
    )
    row, column = corner
    patch = seen.x_conv[row : row + 6, column : column + 6]
    products = patch * f
    y, side, cells = top + 0.42, 2.3, 2.3
    middle = y + side / 2

    axes = page.axes(0.95, y, side, side)
    _style.show_image(axes, seen.x_conv)
    _frame(axes, row, column, 6, _style.GOLD)
    page.text(0.95 + side / 2, y - 0.15, "image  $x_{conv}$")

    limit = float(np.max(np.abs(f)))
    panels = [(4.0, patch, None, "patch"), (6.85, f, limit, "filter  f"), (9.7, products, limit, "products")]
    for x, values, scale, name in panels:
        axes = page.axes(x, y, cells, cells)
        if scale is None:
            _style.show_image(axes, values)
        else:
            _style.show_signed(axes, values, scale)
        _style.draw_cells(axes, 6, 6)
        _style.write_numbers(axes, values, limit=scale, size=8.5)
        page.text(x + cells / 2, y - 0.15, name)
        if values is patch:
            _frame(axes, 0, 0, 6, _style.GOLD)
    page.arrow(3.35, middle, 3.85)
    page.text(6.575, middle, "×", size=20)
    page.text(9.425, middle, "=", size=20)

    total = seen.x_pool[corner]
    page.arrow(12.1, middle, 12.95, "sum", f"{total:.3f}")
    axes = page.axes(13.1, y, side, side)
    _style.show_signed(axes, seen.x_pool)
    _frame(axes, row, column, 1, _style.GOLD, 1.8)
    page.text(13.1 + side / 2, y - 0.15, "feature map  $x_{pool}$")


def _draw_pooling(page: _Page, top: Number, seen: Trace, corner: tuple[int, int]) -> None:
    """[V]'s figures 3 and 4: 3x3 windows of 2x2, their maxima outlined, and those maxima."""
    page.heading(top - 0.2, "Max-pooling, window by window", "[V] figures 3, 4, section 2.2")
    first_row, first_column = (min(max(place // 2 - 1, 0), 8) for place in corner)
    zoom = seen.x_pool[2 * first_row : 2 * first_row + 6, 2 * first_column : 2 * first_column + 6]
    maxima = seen.x_full[first_row : first_row + 3, first_column : first_column + 3]
    y, side = top + 0.42, 2.3
    middle, limit = y + side / 2, float(np.max(np.abs(seen.x_pool)))

    axes = page.axes(0.95, y, side, side)
    _style.show_signed(axes, seen.x_pool, limit)
    _frame(axes, 2 * first_row, 2 * first_column, 6, _style.GREEN)
    page.text(0.95 + side / 2, y - 0.15, "feature map  $x_{pool}$")
    page.arrow(3.35, middle, 4.75, "9 windows")

    axes = page.axes(4.9, y, side, side)
    _style.show_signed(axes, zoom, limit)
    _style.draw_cells(axes, 6, 6)
    _style.write_numbers(axes, zoom, limit=limit, size=8.5)
    _style.draw_cells(axes, 6, 6, every=2, colour=_style.GREEN, width=2.2)
    for (window_row, window_column), greatest in np.ndenumerate(maxima):
        taps = zoom[2 * window_row : 2 * window_row + 2, 2 * window_column : 2 * window_column + 2]
        tap_row, tap_column = np.argwhere(taps == greatest)[0]
        _frame(axes, 2 * window_row + tap_row + 0.1, 2 * window_column + tap_column + 0.1, 0.8, _style.GOLD, 2)
    page.text(4.9 + side / 2, y - 0.15, "2 × 2, stride 2")
    page.arrow(7.3, middle, 8.7, "maximum of each")

    axes = page.axes(8.85, y, side, side)
    _style.show_signed(axes, maxima, limit)
    _style.draw_cells(axes, 3, 3, colour=_style.GREEN, width=2.2)
    _style.write_numbers(axes, maxima, limit=limit, size=13)
    page.text(8.85 + side / 2, y - 0.15, "9 maxima")
    page.arrow(11.25, middle, 12.95, "9 of 121 places")

    axes = page.axes(13.1, y, side, side)
    _style.show_signed(axes, seen.x_full, limit)
    _frame(axes, first_row, first_column, 3, _style.GREEN)
    page.text(13.1 + side / 2, y - 0.15, "pooled, 11 × 11")


def _draw_classes(page: _Page, top: Number, seen: Trace, w: np.ndarray, b: np.ndarray) -> None:
    """[V]'s figure 5: from 121 features to 10 classes, their probabilities and the one-hot prediction."""
    page.heading(
        top - 0.2,
        "From 121 features to 10 classes",
        r"[V] figure 5   ·   z = W $x_{full}$ + b  [V 2]   ·   $\hat{y}$ = softmax(z)  [V 3]   ·   one-hot  [V 2.3]",
    )
    y, side, bottom = top + 0.42, 2.3, top + 2.72
    axes = page.axes(0.95, y, side, side)
    _style.show_signed(axes, seen.x_full)
    page.text(0.95 + side / 2, y - 0.15, "pooled, 11 × 11")
    page.arrow(3.35, y + side / 2, 3.95, "flatten")

    strip_x, nodes_x = 4.1, 8.9
    _draw_strip(page, strip_x, y, 0.2, side, seen)
    page.text(strip_x + 0.1, y - 0.15, "$x_{full}$")
    heights = np.linspace(y + 0.11, bottom - 0.11, 10)
    terms = w * seen.x_full.reshape(-1, 1)
    heaviest = np.argsort(-np.abs(terms), axis=None)[:_LINES_DRAWN][::-1]
    features, classes = np.unravel_index(heaviest, terms.shape)
    starts = y + (features + 0.5) * side / terms.shape[0]
    lines = [
        [(strip_x + 0.2, start), (nodes_x - 0.1, heights[digit])] for start, digit in zip(starts, classes, strict=True)
    ]
    strength = np.abs(terms[features, classes]) / (np.max(np.abs(terms)) or 1)
    colours = [_style.RED if term > 0 else _style.BLUE for term in terms[features, classes]]
    page.ground.add_collection(LineCollection(lines, colors=colours, linewidths=0.3 + 1.7 * strength, alpha=0.55))
    page.text((strip_x + nodes_x) / 2, y - 0.15, f"the {_LINES_DRAWN} heaviest of 1,210 terms $w_{{ik}} x_i$")

    page.text(nodes_x, y - 0.15, "class")
    page.text(9.8, y - 0.15, "z")
    page.text(12.0, y - 0.15, r"$\hat{y}$")
    page.text(14.4, y - 0.15, "one-hot")
    bar_x, bar_width = 10.75, 2.5
    for digit, height in enumerate(heights):
        _draw_node(page, nodes_x, height, 0.1, float(seen.y_hat[digit]))
        is_predicted = bool(seen.prediction[digit])
        weight = "bold" if is_predicted else "normal"
        page.text(nodes_x + 0.27, height, str(digit), weight=weight)
        page.text(10.1, height, f"{seen.z[digit]:.2f}".replace("-", "−"), ha="right", weight=weight)
        page.ground.add_patch(Rectangle((bar_x, height - 0.075), bar_width, 0.15, facecolor=_style.TRACK))
        share = bar_width * float(seen.y_hat[digit])
        page.ground.add_patch(Rectangle((bar_x, height - 0.075), share, 0.15, facecolor=_style.BLUE))
        page.text(bar_x + bar_width + 0.6, height, f"{seen.y_hat[digit]:.4f}", ha="right", weight=weight)
        page.text(
            14.4,
            height,
            str(int(seen.prediction[digit])),
            weight=weight,
            colour=_style.INK if is_predicted else _style.FAINT,
        )
    page.text(15.1, (y + bottom) / 2, str(np.argmax(seen.prediction)), size=40, weight="bold")


def _draw_backwards(page: _Page, top: Number, by_hand: Trace, by_autodiff: Trace) -> None:
    """Five gradients by hand, each over autodiff's."""
    page.heading(top - 0.2, "Backwards: each gradient by hand, and autodiff's", "[V] section 3")
    panels = [
        ("dz", r"$\hat{y} - y$  [V 17]"),
        ("dx_full", r"$\partial L / \partial x_{full}$  [V 26], 11 × 11"),
        ("dx_pool", r"$\partial L / \partial x_{pool}$  routed  [V 3.3]"),
        ("df", r"$\partial L / \partial f$  [V 37]"),
        ("dx_conv", r"$\partial L / \partial x_{conv}$  [V 38]"),
    ]
    side, y = 2.15, top + 0.42
    second_y = y + side + 0.27
    apart = differences(by_hand, by_autodiff)
    page.text(0.7, y + side / 2, "by hand", weight="bold", rotation=90)
    page.text(0.7, second_y + side / 2, "autodiff", weight="bold", rotation=90)
    for number, (name, formula) in enumerate(panels):
        x = 1.15 + number * 2.97
        limit = float(np.max(np.abs(getattr(by_hand, name))))
        for seen, height in ((by_hand, y), (by_autodiff, second_y)):
            axes = page.axes(x, height, side, side)
            values = getattr(seen, name)
            if name == "dz":
                _draw_bars(axes, values, limit)
            else:
                _style.show_signed(axes, values, limit)
        page.text(x + side / 2, y - 0.16, formula)
        page.text(
            x + side / 2,
            second_y + side + 0.27,
            f"{'axis' if name == 'dz' else 'colours'} to ±{limit:.2g}",
            size=9,
            colour=_style.FAINT,
        )
        page.text(x + side / 2, second_y + side + 0.48, f"largest difference {apart[name]:.1e}", size=9.5)


def _draw_bars(axes: Axes, values: np.ndarray, limit: Number) -> None:
    colours = [_style.RED if value > 0 else _style.BLUE for value in values]
    axes.bar(range(10), values, color=colours, width=0.75)
    axes.axhline(0, color=_style.FAINT, linewidth=0.8)
    axes.set(ylim=(-1.12 * (limit or 1), 1.12 * (limit or 1)), xticks=range(10))
    axes.tick_params(length=0, pad=2, labelsize=8)
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
