"""Options of ``claran calibrate``."""

from typing import Any

from claran_plugin.commands.association_options import add_about_image
from claran_plugin.commands.options import add_command, add_detector, add_labels, add_views


def add_calibrate(commands: Any) -> None:
    """Add ``claran calibrate``."""
    parser = add_command(
        commands,
        'calibrate',
        'compare what a detector says of labelled images with their labels, and fit the probabilities of a '
        'calibration to them, for --calibration of run, associate, detect and survey',
        'calibration.calibrate',
    )
    parser.add_argument('list', metavar='LIST', help='IMAGE CATALOGUE [INFRARED] on each line, or a table with them')
    add_labels(parser)
    add_about_image(parser)
    detector = parser.add_argument_group('detector')
    add_detector(detector)
    add_views(detector)
    outputs = parser.add_argument_group('output')
    outputs.add_argument('-o', '--output', required=True, metavar='FILE', help='such as mine.json')
    outputs.add_argument('--diagram', metavar='PNG', help='picture of how reliable both probabilities are')
    outputs.add_argument(
        '--wrong',
        metavar='CSV',
        help='list of the true sources that do not come back exactly, first those where the detector is surest: there '
        'the label may be wrong',
    )
    outputs.add_argument('--overwrite', action='store_true', help='replace output files that exist')
    outputs.add_argument('--quiet', action='store_true', help='no progress and no figures')
