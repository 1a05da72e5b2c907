"""What becomes of a command: faults and warnings in one line, and an exit code.

0 done; 1 failed, with one line on stderr that names the file, the fault and the remedy; 2 wrong usage; 130 interrupted;
141 whoever read the output, such as ``head``, wanted no more of it, and 143 terminated (as a shell tells of signals).
Anything but a fault in the input, or a full disk under the output, is a bug, and shows its traceback.
"""

import contextlib
import io
import math
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from claran_plugin.errors import InputError, InputWarning

MOST_ALIKE = 3
"""Warnings of one kind that are printed."""
SAME_REQUEST = 10.0
"""Seconds within which being asked to end again is the same request, not one to leave off clearing away."""


class Terminated(KeyboardInterrupt):
    """The process has been asked to end, as batch systems do before they kill."""


def exit_code(program: str, work: Callable[[], None]) -> int:
    """Do a command's work.

    Parameters
    ----------
    program : str
        Begins each line that is told.
    work : callable

    Returns
    -------
    int, the exit code
    """
    _ready_streams()
    try:
        with _termination_unwinds(), warnings_in_one_line(program):
            work()
        print(end='', flush=True)  # here, where it can still be told that nobody reads it
    except InputError as err:
        print(f'{program}: {_one_line(err)}', file=sys.stderr)
        return 1
    except Terminated:
        print(f'{program}: terminated', file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print(f'{program}: interrupted', file=sys.stderr)
        return 130
    except OSError:
        fault = _fault_of_output()
        if fault is None:
            raise
        if isinstance(fault, BrokenPipeError):
            return 141
        print(f'{program}: standard output: {fault.strerror}; send it elsewhere', file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _termination_unwinds() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`, so that temporary files are removed, unless somebody else deals with it."""
    usual = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()
    asked = -math.inf

    def terminate(number: int, frame: Any) -> None:
        nonlocal asked
        if os.getpid() == process:
            if time.monotonic() - asked < SAME_REQUEST:
                return
            asked = time.monotonic()
            raise Terminated
        signal.signal(number, signal.SIG_DFL)  # a child that was forked meanwhile has nothing to remove
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _ready_streams() -> None:
    """Let nothing that is printed fail for its letters or for a stream that is closed.

    What is printed to a closed one goes nowhere. Left closed, its number would be the next opened file's, into which
    libraries would then write their messages.
    """
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding='utf-8'))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and mode == 'w' and _may_fail(stream):
            stream.reconfigure(errors='backslashreplace')  # a file's name may have letters that a terminal lacks


def _may_fail(stream: io.TextIOWrapper) -> bool:
    """Tell whether there are letters that a stream refuses; of 'surrogateescape' UTF-8 makes the bytes of any name."""
    utf8 = stream.encoding.lower().replace('-', '') == 'utf8'
    return stream.errors == 'strict' or (stream.errors == 'surrogateescape' and not utf8)


def _fault_of_output() -> OSError | None:
    """Tell why standard output cannot be written to, if so; what is left for it then goes nowhere."""
    try:
        print(flush=True)  # what a failed print had is lost, so a flush alone may find nothing to write
    except OSError as err:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return err
    return None


@contextlib.contextmanager
def warnings_in_one_line(program: str) -> Iterator[None]:
    """Print each `InputWarning` once, as one line, and leave out what other libraries have to say.

    Of those that differ in the file they name and in numbers alone, the first `MOST_ALIKE` are printed, and at the end
    how many more there were. Where warnings were asked for (``python -W``, PYTHONWARNINGS), all are shown as Python
    does.
    """
    with warnings.catch_warnings():
        shown: set[str] = set()
        alike: Counter[str] = Counter()
        if not sys.warnoptions:

            def show(
                message: Warning | str,
                category: type[Warning],
                filename: str,
                lineno: int,
                file: TextIO | None = None,
                line: str | None = None,
            ) -> None:
                text = _one_line(message)
                if text in shown:
                    return
                shown.add(text)
                kind = _kind(text)
                alike[kind] += 1
                if alike[kind] <= MOST_ALIKE:
                    print(f'{program}: warning: {text}', file=sys.stderr)

            warnings.simplefilter('ignore')
            warnings.simplefilter('always', InputWarning)
            warnings.showwarning = show
        try:
            yield
        finally:
            for kind, number in alike.items():
                if number > MOST_ALIKE:
                    more = number - MOST_ALIKE
                    print(f'{program}: warning: {more} more like the {MOST_ALIKE} above on: {kind}', file=sys.stderr)


def _kind(text: str) -> str:
    """Give what a warning says, without the file that it names and with N for numbers."""
    return re.sub(r'\d+(\.\d+)?', 'N', text.partition(': ')[2] or text)


def _one_line(message: object) -> str:
    return ' '.join(str(message).split())
