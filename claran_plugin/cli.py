"""The command ``claran``: from its arguments to an exit code, see `outcome`."""

import atexit
import gc
import importlib
import shlex
import sys
from collections.abc import Sequence

from claran_plugin.commands.parser import make_parser
from claran_plugin.outcome import exit_code
from claran_plugin.quick_imports import quick_imports


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
    argv = list(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(argv)
    args.command_line = shlex.join(['claran', *argv])
    atexit.register(gc.freeze)  # or all that the detector's libraries have made is walked over at the end, for a second

    def work() -> None:
        # Only now, as it takes a second: help, version and wrong usage should not wait for it.
        module, function = args.command.split('.')
        with quick_imports():
            commands = importlib.import_module(f'claran_plugin.commands.{module}')
        getattr(commands, function)(args)

    return exit_code('claran', work)


if __name__ == '__main__':
    sys.exit(main())
