"""Pictures of a run, drawn with matplotlib.

`explain`, `seen`, `learning_curve`, `learning_curves` and `confusion_matrix` return a `Figure`, which `png` turns into
a file's bytes and `svg` into an element of a page.
"""

from jaxcnn.figures._explain import explain as explain
from jaxcnn.figures._seen import Seen as Seen
from jaxcnn.figures._seen import seen as seen
from jaxcnn.figures._style import photograph as photograph
from jaxcnn.figures._style import png as png
from jaxcnn.figures._style import svg as svg
from jaxcnn.figures._trace import EQUATIONS as EQUATIONS
from jaxcnn.figures._trace import Trace as Trace
from jaxcnn.figures._trace import differences as differences
from jaxcnn.figures._trace import trace as trace
from jaxcnn.figures._training import Look as Look
from jaxcnn.figures._training import confusion_counts as confusion_counts
from jaxcnn.figures._training import confusion_matrix as confusion_matrix
from jaxcnn.figures._training import learning_curve as learning_curve
from jaxcnn.figures._training import learning_curves as learning_curves
from jaxcnn.figures._training import look as look
