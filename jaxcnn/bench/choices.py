"""Which algorithm computes which map of a convolution where `algorithm="auto"`: to be held to measurements.

MAPS            the maps' names
ALGORITHMS      every algorithm, by name
TABLE           by platform and map, the rows from which one is chosen: the first that fits
row_for         the row that is chosen for a map, on a platform, of a form (`jaxcnn.bench.geometries` has forms)
chosen          the algorithm: that row's, or "direct"

Example:
    >>> from jaxcnn.bench import choices, geometries
    >>> form = geometries()[0].form
    >>> choices.chosen("kernel_gradient", "cpu", form) in choices.ALGORITHMS
    True
"""

from jaxcnn.ops._conv._choose import ALGORITHMS as ALGORITHMS
from jaxcnn.ops._conv._choose import MAPS as MAPS
from jaxcnn.ops._conv._choose import TABLE as TABLE
from jaxcnn.ops._conv._choose import chosen as chosen
from jaxcnn.ops._conv._choose import row_for as row_for
