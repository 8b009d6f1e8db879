"""Which algorithm computes which map of a convolution where `algorithm="auto"`: to be held to measurements.

MAPS            the maps' names
ALGORITHMS      every algorithm, by name
TABLE           the rows, each with its platform, map, problems and measurement, of which the first that fits is chosen
row_for         the row that is chosen for a map, on a platform, of a problem (`jaxcnn.bench.geometries` has problems)
chosen          the algorithm: that row's, or `DIRECT`

Example:
    >>> from jaxcnn.bench import choices, geometries
    >>> choices.chosen("kernel_gradient", "cpu", geometries()[0].problem).name in choices.ALGORITHMS
    True
"""

from jaxcnn.ops._conv._algorithm import MAPS as MAPS
from jaxcnn.ops._conv._algorithms import ALGORITHMS as ALGORITHMS
from jaxcnn.ops._conv._algorithms import DIRECT as DIRECT
from jaxcnn.ops._conv._plan import chosen as chosen
from jaxcnn.ops._conv._plan import row_for as row_for
from jaxcnn.ops._conv._row import Measured as Measured
from jaxcnn.ops._conv._row import Row as Row
from jaxcnn.ops._conv._table import TABLE as TABLE
