"""Pictures of a run, drawn with matplotlib.

`explain`, `seen`, `learning_curve`, `learning_curves` and `confusion_matrix` return a `Figure`, which `png` turns into
a file's bytes and `svg` into an element of a page.
"""

from jaxcnn.plots._explain import explain as explain
from jaxcnn.plots._seen import Seen as Seen
from jaxcnn.plots._seen import seen as seen
from jaxcnn.plots._style import photograph as photograph
from jaxcnn.plots._style import png as png
from jaxcnn.plots._style import svg as svg
from jaxcnn.plots._trace import EQUATIONS as EQUATIONS
from jaxcnn.plots._trace import Trace as Trace
from jaxcnn.plots._trace import differences as differences
from jaxcnn.plots._trace import trace as trace
from jaxcnn.plots._training import Look as Look
from jaxcnn.plots._training import confusion_counts as confusion_counts
from jaxcnn.plots._training import confusion_matrix as confusion_matrix
from jaxcnn.plots._training import learning_curve as learning_curve
from jaxcnn.plots._training import learning_curves as learning_curves
from jaxcnn.plots._training import look as look
