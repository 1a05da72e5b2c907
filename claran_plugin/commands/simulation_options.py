"""Options of ``claran simulate`` and ``demo``."""

from typing import Any

from claran_plugin.commands.options import add_command, add_detector, add_outputs, count, positive, whole


def add_simulate(commands: Any) -> None:
    """Add ``claran simulate``."""
    text = 'simulate radio images and their truth'
    parser = add_command(commands, 'simulate', text, 'simulation.simulate')
    parser.add_argument('--size', type=positive, default=15.0, metavar='ARCMIN', help='width and height (default: 15)')
    parser.add_argument('--number', type=count, default=1, metavar='K', help='how many fields (default: 1)')
    parser.add_argument(
        '--seed', type=whole, default=1, metavar='N', help='of the first field; the next has N + 1 (default: 1)'
    )
    parser.add_argument('--infrared', action='store_true', help='an infrared image of each field, too')
    add_outputs(parser)


def add_demo(commands: Any) -> None:
    """Add ``claran demo``."""
    parser = add_command(
        commands, 'demo', 'simulate a field, run PyBDSF and the association on it, and score them', 'simulation.demo'
    )
    add_detector(parser)
    add_outputs(parser, 'demo_output', quiet='no progress')
