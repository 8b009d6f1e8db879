"""How fast the hand-derived rules are: verified first, then timed against autodiff in one run."""

from jaxcnn.bench._compiled import COMPILERS as COMPILERS
from jaxcnn.bench._compiled import TARGETS as TARGETS
from jaxcnn.bench._compiled import compiled_cases as compiled_cases
from jaxcnn.bench._compiled import compiled_rows as compiled_rows
from jaxcnn.bench._compiled import described as described
from jaxcnn.bench._memory import memory_rows as memory_rows
from jaxcnn.bench._ops import ops_cases as ops_cases
from jaxcnn.bench._run import BenchError as BenchError
from jaxcnn.bench._run import Case as Case
from jaxcnn.bench._run import milliseconds as milliseconds
from jaxcnn.bench._run import product_rate as product_rate
from jaxcnn.bench._run import run as run
from jaxcnn.bench._steps import steps_cases as steps_cases
