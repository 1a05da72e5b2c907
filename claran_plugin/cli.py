"""The command ``claran``: from its arguments to an exit code.

0 done; 1 failed, with one line on stderr that names the file, the fault and the remedy; 2 wrong usage; 130 interrupted;
141 whoever read the output, such as ``head``, wanted no more of it (as a shell tells of SIGPIPE).
Anything but a fault in the input, or a full disk under the output, is a bug, and shows its traceback.
"""

import atexit
import contextlib
import gc
import importlib
import io
import os
import re
import shlex
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TextIO

from claran_plugin.commands.parser import make_parser
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.quick_imports import quick_imports

MOST_ALIKE = 3
"""Warnings of one kind that are printed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int, the exit code

    Raises
    ------
    SystemExit
        With code 2 where the usage is wrong, and 0 after ``--help`` and ``--version``.
    """
    _ready_streams()
    argv = list(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(argv)
    args.command_line = shlex.join(['claran', *argv])
    atexit.register(gc.freeze)  # or all that the detector's libraries have made is walked over at the end, for a second
    try:
        with _warnings_in_one_line():
            # Only now, as it takes a second: help, version and wrong usage should not wait for it.
            module, function = args.command.split('.')
            with quick_imports():
                commands = importlib.import_module(f'claran_plugin.commands.{module}')
            getattr(commands, function)(args)
        print(end='', flush=True)  # here, where it can still be told that nobody reads it
    except InputError as err:
        print(f'claran: {_one_line(err)}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('claran: interrupted', file=sys.stderr)
        return 130
    except OSError:
        fault = _fault_of_output()
        if fault is None:
            raise
        if isinstance(fault, BrokenPipeError):
            return 141
        print(f'claran: standard output: {fault.strerror}; send it elsewhere', file=sys.stderr)
        return 1
    return 0


def _ready_streams() -> None:
    """Let nothing that is printed fail for its letters or for a stream that is closed.

    What is printed to a closed one goes nowhere. Left closed, its number would be the next opened file's, into which
    libraries would then write their messages.
    """
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding='utf-8'))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and mode == 'w' and stream.errors == 'strict':
            stream.reconfigure(errors='backslashreplace')  # a file's name may have letters that a terminal lacks


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
def _warnings_in_one_line() -> Iterator[None]:
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
                    print(f'claran: warning: {text}', file=sys.stderr)

            warnings.simplefilter('ignore')
            warnings.simplefilter('always', InputWarning)
            warnings.showwarning = show
        try:
            yield
        finally:
            for kind, number in alike.items():
                if number > MOST_ALIKE:
                    more = number - MOST_ALIKE
                    print(f'claran: warning: {more} more like the {MOST_ALIKE} above on: {kind}', file=sys.stderr)


def _kind(text: str) -> str:
    """Give what a warning says, without the file that it names and with N for numbers."""
    return re.sub(r'\d+(\.\d+)?', 'N', text.partition(': ')[2] or text)


def _one_line(message: object) -> str:
    return ' '.join(str(message).split())


if __name__ == '__main__':
    sys.exit(main())
