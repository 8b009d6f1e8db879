"""How fast the hand-derived rules are: verified first, then timed against autodiff in one run."""

from jaxcnn.bench._memory import memory_rows as memory_rows
from jaxcnn.bench._ops import ops_cases as ops_cases
from jaxcnn.bench._run import Case as Case
from jaxcnn.bench._run import product_rate as product_rate
from jaxcnn.bench._run import run as run
from jaxcnn.bench._steps import steps_cases as steps_cases
