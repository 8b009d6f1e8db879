"""A run's folder: what `jaxcnn train` and `jaxcnn.session.train` write, and what the other commands read.

    config.json      what was trained, on what, how, by which versions, and the run's status
    metrics.jsonl    a line per epoch
    parameters.npz   one array per parameter, named by its path in the pytree, joined by "/"; of a network that has
                     state, its arrays too, as net_state/...
    checkpoints/     what training needs to go on from where it was (jaxcnn.checkpoints)

The `name` of a network of one's own is its place, "my_module:my_net"; whoever reads the folder imports my_module first.

config.json has `format` (1), `status` ("running", "finished", "interrupted" or "failed"), `net` (`name`, `options`),
`data` (`name`, `train_images`, `test_images`, `classes`), `seed`, `ops`, `optimizer`, `learning_rate`, `epochs`,
`batch_size`, and `versions`, `devices`, `processes` and `cores` (`jaxcnn.provenance.surroundings`); `schedule`,
`warmup_steps`, `clip` (a name and a limit, or null), `precision`, `validation` (images set aside), `early_stopping`
(epochs, or null) and `stream` may be left out.

A line of metrics.jsonl has `epoch`, `step`, `loss` and `accuracy` (means over the epoch's training batches, taken as
the parameters moved), `images_per_second` (per second of training alone, without compiling, validating and saving) and
`seconds` (with all of that); `validation_loss` and `validation_accuracy` where images were set aside. The last line of
a finished run adds `test_loss` and `test_accuracy`, on the held-out part of the data set, and `test_epoch` where
training stopped early: the epoch whose parameters were kept. That of an interrupted run has `"interrupted": true`.

Every file is written beside its place and then moved there, so that whoever reads it finds it whole.
"""

from jaxcnn._names import unknown as unknown
from jaxcnn.runs._files import CHECKPOINTS as CHECKPOINTS
from jaxcnn.runs._files import CONFIG as CONFIG
from jaxcnn.runs._files import FORMAT as FORMAT
from jaxcnn.runs._files import METRICS as METRICS
from jaxcnn.runs._files import PARAMETERS as PARAMETERS
from jaxcnn.runs._files import Config as Config
from jaxcnn.runs._files import Metrics as Metrics
from jaxcnn.runs._files import RunError as RunError
from jaxcnn.runs._files import read_config as read_config
from jaxcnn.runs._files import read_metrics as read_metrics
from jaxcnn.runs._files import read_parameters as read_parameters
from jaxcnn.runs._files import require as require
from jaxcnn.runs._files import write_config as write_config
from jaxcnn.runs._files import write_metrics as write_metrics
from jaxcnn.runs._files import write_parameters as write_parameters
from jaxcnn.runs._files import write_whole as write_whole
from jaxcnn.runs._network import Network as Network
from jaxcnn.runs._network import Params as Params
from jaxcnn.runs._network import network as network
from jaxcnn.runs._own import import_own as import_own
from jaxcnn.runs._own import is_own as is_own
from jaxcnn.runs._own import place_of as place_of
from jaxcnn.runs._record import Recorder as Recorder
from jaxcnn.runs._record import claim as claim
from jaxcnn.runs._record import claim_next as claim_next
from jaxcnn.runs._record import kept as kept
from jaxcnn.runs._record import refuse_taken as refuse_taken
from jaxcnn.runs._run import Run as Run
from jaxcnn.runs._run import held_out as held_out
from jaxcnn.runs._run import is_finished as is_finished
from jaxcnn.runs._run import read as read
