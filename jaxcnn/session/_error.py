"""What ends a session early. In both errors' messages, options stand in backticks, as Python spells them."""

from jaxcnn import JaxcnnError


class SessionError(JaxcnnError, ValueError):
    """A training cannot be done as asked, because of its options, data, folder or devices."""


class TrainingError(JaxcnnError, RuntimeError):
    """A training failed on its way: its loss is not finite, or its data cannot be read any more."""
