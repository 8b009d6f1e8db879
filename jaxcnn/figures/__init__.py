"""Pictures of a run, drawn with matplotlib: `explain`, `learning_curve` and `confusion_matrix` return a `Figure`,
which `png` turns into a file's bytes."""

from jaxcnn.figures._explain import explain as explain
from jaxcnn.figures._style import png as png
from jaxcnn.figures._trace import EQUATIONS as EQUATIONS
from jaxcnn.figures._trace import Trace as Trace
from jaxcnn.figures._trace import differences as differences
from jaxcnn.figures._trace import trace as trace
from jaxcnn.figures._training import confusion_matrix as confusion_matrix
from jaxcnn.figures._training import learning_curve as learning_curve
