"""What is held while a file is written, so that nobody ends the process in its midst."""

from __future__ import annotations

import threading

WHOLE = threading.RLock()
