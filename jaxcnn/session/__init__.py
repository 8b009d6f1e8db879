"""A training session: a network trained on a data set, with its run's folder kept up to date."""

from jaxcnn.session._error import SessionError as SessionError
from jaxcnn.session._error import TrainingError as TrainingError
