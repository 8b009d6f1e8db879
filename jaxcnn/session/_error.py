"""What ends a session early. In both errors' messages, options stand in backticks, as Python spells them."""

from jaxcnn import JaxcnnError


class SessionError(JaxcnnError, ValueError):
    """A training cannot be done as it is asked for: by its options, its data, its folder or its devices."""


class TrainingError(JaxcnnError, RuntimeError):
    """A training failed on its way: its loss is not finite, or its data cannot be read any more."""
