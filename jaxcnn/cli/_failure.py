"""What ends a sub-command early, for a reason that is the user's to mend."""


class Failure(Exception):
    """One line for stderr and the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code
