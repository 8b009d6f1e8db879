"""A session's messages in the command's words."""

from __future__ import annotations

import re


def in_options(message: str) -> str:
    """The message with the options that it names as they are typed.

    Example:
        >>> in_options("`batch_size` must be at most the 8 images, got 9")
        '--batch-size must be at most the 8 images, got 9'
        >>> in_options("prepare it by source= or download=True")
        'prepare it by --source  or --download'
    """
    message = message.replace("download=True", "--download").replace("source=", "--source ")
    return re.sub(r"`([a-z_]+)`", lambda found: "--" + found[1].replace("_", "-"), message)
