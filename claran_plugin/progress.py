"""Telling what is going on: a bar on a terminal, plain lines on stdout otherwise, nothing when quiet.

Stderr is left to errors and warnings, and to the bar.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

LINE_SECONDS = 10.0
"""How often a line tells of long work."""
T = TypeVar('T')


class Log:
    """Progress of one command.

    Parameters
    ----------
    quiet : bool
        Tell nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.start = time.perf_counter()

    def line(self, text: str) -> None:
        """Tell one thing."""
        if not self.quiet:
            print(f'claran: {text}', flush=True)

    def track(self, items: Iterable[T], total: int | None, what: str) -> Iterator[T]:
        """Give the items while telling how many are done; `what` says what is done, such as 'fields looked at'."""
        if self.quiet:
            yield from items
        elif sys.stderr.isatty():
            yield from tqdm(items, desc=f'claran: {what}', total=total, file=sys.stderr, leave=False)
        else:
            yield from self._in_lines(items, total, what)

    def fields(self, centres: Iterable[T], total: int) -> Iterator[T]:
        """Track fields of view, in the form that `pipeline.associate` takes."""
        return self.track(centres, total, 'fields of view looked at')

    def _in_lines(self, items: Iterable[T], total: int | None, what: str) -> Iterator[T]:
        told = time.perf_counter()
        number = 0
        for number, item in enumerate(items, 1):
            yield item
            if time.perf_counter() - told > LINE_SECONDS and number != total:
                self.line(f'{number}{f" of {total}" if total else ""} {what}')
                told = time.perf_counter()
        self.line(f'{number} {what}')

    def files(self, paths: Iterable[Path]) -> None:
        """List the files that were written, and the time it took."""
        for path in paths:
            print(path)
        print(f'{self.seconds():.1f} s')

    def seconds(self) -> float:
        """Give the time since the start."""
        return time.perf_counter() - self.start
