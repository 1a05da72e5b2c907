"""The whole command line, command by command. Imports nothing heavy."""

import argparse

from claran_plugin import __version__
from claran_plugin.commands.association_options import add_associate, add_detect, add_explain, add_run
from claran_plugin.commands.calibration_options import add_calibrate
from claran_plugin.commands.dataset_options import add_dataset
from claran_plugin.commands.evaluation_options import add_evaluate
from claran_plugin.commands.simulation_options import add_demo, add_simulate
from claran_plugin.commands.survey_options import add_survey
from claran_plugin.commands.training_options import add_losses, add_ranges, add_test, add_train, add_weights


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line; each command sets `command`, a function in one of this package's modules."""
    parser = argparse.ArgumentParser(
        prog='claran',
        description='Group the components of a radio source finder into physical sources and classify their '
        'morphology. "claran COMMAND --help" lists the options of a command.',
    )
    parser.add_argument('--version', action='version', version=f'claran_plugin {__version__}')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for add in (
        add_run,
        add_associate,
        add_detect,
        add_survey,
        add_explain,
        add_simulate,
        add_dataset,
        add_demo,
        add_train,
        add_test,
        add_evaluate,
        add_losses,
        add_calibrate,
        add_weights,
        add_ranges,
    ):
        add(commands)
    return parser
