"""Options of ``claran survey``."""

from typing import Any

from claran_plugin.commands.association_options import add_about_image, add_looking, add_pybdsf
from claran_plugin.commands.options import add_command, add_outputs, count


def add_survey(commands: Any) -> None:
    """Add ``claran survey``."""
    parser = add_command(
        commands,
        'survey',
        'associate the components of many images on all cores or a Dask cluster, and merge them into one catalogue',
        'survey.survey',
    )
    parser.add_argument(
        'list',
        metavar='LIST',
        help='text file: IMAGE [CATALOGUE [INFRARED]] on each line, "-" for none; or a table with these columns. '
        'Without a catalogue, PyBDSF makes one',
    )
    parser.add_argument(
        '--overwrite-columns', action='store_true', help='replace the columns of an earlier run in the catalogues'
    )
    cluster = parser.add_argument_group('cluster')
    cluster.add_argument('--workers', type=count, metavar='N', help='processes (default: one per core)')
    cluster.add_argument('--scheduler', metavar='ADDRESS', help='of a Dask cluster that exists')
    add_pybdsf(parser)
    add_about_image(parser)
    add_looking(parser)
    outputs = parser.add_argument_group('output')
    outputs.add_argument(
        '--resume',
        action='store_true',
        help='go on with an earlier run: leave out what is done, by the content of the files and the parameters',
    )
    outputs.add_argument('--pictures', action='store_true', help='an overlay picture of each image')
    add_outputs(outputs)
