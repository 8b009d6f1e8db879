"""Training: one jit-compiled step, and the loop around it.

    state = init_state(net.init(key), optimizer, key)
    step = make_train_step(net.apply, optimizer)
    state, metrics = step(state, {"image": images, "label": labels})            one batch
    for report in fit(state, step, *split, epochs=5, batch_size=128): ...       whole epochs, on the device
    for report in fit_stream(state, step, batches, epochs=5): ...               whole epochs, read as they are needed

A step computes the loss of each example [V 4; R 1.6], averages or sums it, takes the gradient by the rules of `ops`,
and updates every parameter by an optax optimizer: p <- p - gamma dL/dp for gradient descent [V 27, 28, 39], Adam and
AdamW [R 1.9]. [V]'s own algorithm is gradient descent with batch size 1.

The step is a pure function and carries its randomness in the state, and there too what a network has of its own. It
runs unchanged on CPU, GPU and TPU, and on several of them: given a mesh, each device has its part of the batch, and
the gradients are added up once per step.
"""

from jaxcnn.train._evaluate import Evaluation as Evaluation
from jaxcnn.train._evaluate import evaluate as evaluate
from jaxcnn.train._fit import NotFiniteError as NotFiniteError
from jaxcnn.train._fit import Report as Report
from jaxcnn.train._fit import Totals as Totals
from jaxcnn.train._fit import fit as fit
from jaxcnn.train._fit import fit_stream as fit_stream
from jaxcnn.train._mesh import AXIS as AXIS
from jaxcnn.train._mesh import mesh_of as mesh_of
from jaxcnn.train._mesh import replicated as replicated
from jaxcnn.train._optimizer import CLIPS as CLIPS
from jaxcnn.train._optimizer import OPTIMIZERS as OPTIMIZERS
from jaxcnn.train._optimizer import SCHEDULES as SCHEDULES
from jaxcnn.train._optimizer import learning_rates as learning_rates
from jaxcnn.train._optimizer import make_optimizer as make_optimizer
from jaxcnn.train._read import Batches as Batches
from jaxcnn.train._read import epoch_order as epoch_order
from jaxcnn.train._step import PRECISIONS as PRECISIONS
from jaxcnn.train._step import Batch as Batch
from jaxcnn.train._step import Metrics as Metrics
from jaxcnn.train._step import Step as Step
from jaxcnn.train._step import TrainState as TrainState
from jaxcnn.train._step import as_floats as as_floats
from jaxcnn.train._step import init_state as init_state
from jaxcnn.train._step import make_train_step as make_train_step
