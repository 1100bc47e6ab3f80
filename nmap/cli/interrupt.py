"""The first Ctrl-C as a wish for the best answer so far, and the second as what it usually is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["FirstInterrupt"]


class FirstInterrupt:
    """Stands around searches (see `nmap.flow.KeepBest`): after the first Ctrl-C within one of them, none searches any more.

    Outside of a search, in a thread other than the main one, and from the second on, Ctrl-C is what it was before.
    """

    def __init__(self) -> None:
        self.wanted = False

    @contextmanager
    def __call__(self, tell: Callable[[], None]) -> Iterator[Callable[[], bool]]:
        """Give what says whether the best so far is wanted; `tell` is called when it first is."""
        before = signal.getsignal(signal.SIGINT)
        # Signals can only be handled in the main thread, and a handler that is not Python's cannot be put back.
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            yield lambda: self.wanted
            return

        def pressed(number: int, frame: FrameType | None) -> None:
            if self.wanted:
                before(number, frame)
                return
            self.wanted = True
            tell()

        signal.signal(signal.SIGINT, pressed)
        try:
            yield lambda: self.wanted
        finally:
            signal.signal(signal.SIGINT, before)
