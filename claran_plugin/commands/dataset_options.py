"""Options of ``claran dataset``."""

from typing import Any

from claran_plugin.commands.options import add_command, add_outputs, whole


def add_dataset(commands: Any) -> None:
    """Add ``claran dataset`` and its commands."""
    dataset = commands.add_parser('dataset', help='make training sets', description='Make training sets.')
    parser = add_command(
        dataset.add_subparsers(required=True, metavar='COMMAND'),
        'pack',
        'pack labelled images into the training set of the compact detector, in the order of the options below',
        'dataset.pack',
    )
    parser.add_argument('--first', metavar='DIR', help='FIRST images of Radio Galaxy Zoo subjects; needs --rgz')
    parser.add_argument('--rgz', metavar='CSV', help="ClaRAN's subset of the RGZ DR1 catalogue")
    parser.add_argument('--fr', metavar='DIR', help='FIRST images around catalogued FR galaxies')
    parser.add_argument('--radiogalaxynet', metavar='DIR', help='RadioGalaxyNET: annotations.json and radio/')
    parser.add_argument('--simulate', type=whole, default=0, metavar='N', help='number of simulated subjects')
    parser.add_argument('--seed', type=whole, default=1, metavar='N', help='of what is drawn (default: 1)')
    add_outputs(parser, None)
