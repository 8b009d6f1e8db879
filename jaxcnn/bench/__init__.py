"""How fast the hand-derived rules are: verified first, then timed against autodiff in one run.

run, Case           times the ways of a case in turns, on the same inputs
ops_cases           every op over a grid of geometries; steps_cases: whole training steps
memory_rows         what is held and kept
compiled_rows       what an accelerator's compiler makes of a case, with no accelerator at hand
choices             which algorithm computes which map of a convolution
"""

from jaxcnn.bench import choices as choices
from jaxcnn.bench._compiled import COMPILER_OPTIONS as COMPILER_OPTIONS
from jaxcnn.bench._compiled import COMPILERS as COMPILERS
from jaxcnn.bench._compiled import TARGETS as TARGETS
from jaxcnn.bench._compiled import compiled_as_traced as compiled_as_traced
from jaxcnn.bench._compiled import compiled_cases as compiled_cases
from jaxcnn.bench._compiled import compiled_rows as compiled_rows
from jaxcnn.bench._compiled import described as described
from jaxcnn.bench._compiled import described_slice as described_slice
from jaxcnn.bench._memory import memory_rows as memory_rows
from jaxcnn.bench._ops import geometries as geometries
from jaxcnn.bench._ops import ops_cases as ops_cases
from jaxcnn.bench._run import BenchError as BenchError
from jaxcnn.bench._run import Case as Case
from jaxcnn.bench._run import milliseconds as milliseconds
from jaxcnn.bench._run import product_rate as product_rate
from jaxcnn.bench._run import run as run
from jaxcnn.bench._steps import idiomatic as idiomatic
from jaxcnn.bench._steps import step_arguments as step_arguments
from jaxcnn.bench._steps import step_program as step_program
from jaxcnn.bench._steps import steps_cases as steps_cases
