"""Is a server there? TensorFlow Datasets tries each URL for minutes before it says no."""

import queue
import threading
import urllib.parse
from collections.abc import Iterable


def complaint(urls: Iterable[str], seconds: float = 3.0) -> str | None:
    """Why a server of these URLs cannot be used, or None if all answer in time (proxies are respected)."""
    one_of_each_server = {urllib.parse.urlsplit(url).netloc: url for url in urls}
    for server, url in one_of_each_server.items():
        answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # in a thread, because looking up a name has no time limit of its own
        threading.Thread(target=_ask, args=(url, seconds, answers), daemon=True).start()
        try:
            answer = answers.get(timeout=seconds)
        except queue.Empty:
            answer = f"no answer within {seconds:g} s"
        if answer is not None:
            return f"{server} cannot be reached ({answer})"
    return None


def _ask(url: str, seconds: float, answers: queue.SimpleQueue[str | None]) -> None:
    import requests

    try:
        status = requests.head(url, timeout=seconds, allow_redirects=True).status_code
    except requests.RequestException as error:
        answers.put(type(error).__name__)
    else:
        answers.put(None if status < 400 else f"HTTP {status}")
