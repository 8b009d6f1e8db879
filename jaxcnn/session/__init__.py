"""A training session: a network trained on a data set, in a run's folder that is always up to date.

    session.train(net="lenet", epochs=2)                       as `jaxcnn train --net lenet --epochs 2`
    session.train(resume="runs/lenet-mnist-10k-1")             goes on, to the same bits

It takes the command's options, in Python's spelling, and leaves the same folder, checkpoints and plots, to the
same bits.
"""

from jaxcnn.session._error import SessionError as SessionError
from jaxcnn.session._error import TrainingError as TrainingError
from jaxcnn.session._interrupts import Interrupts as Interrupts
from jaxcnn.session._train import train as train
