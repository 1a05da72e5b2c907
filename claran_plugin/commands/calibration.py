"""``claran calibrate``."""

import argparse
from pathlib import Path

from claran_plugin.associator import Associator
from claran_plugin.catalogue_writing import atomic_outputs, check_outputs
from claran_plugin.errors import InputError
from claran_plugin.evaluation.calibrating import write_calibration
from claran_plugin.evaluation.labelled_scores import Examination, cross_validated, report
from claran_plugin.evaluation.reliability import draw_reliability
from claran_plugin.evaluation.wrong_sources import wrong_table
from claran_plugin.labelled import read_labelled
from claran_plugin.models import DETECTOR
from claran_plugin.progress import Log
from claran_plugin.survey.listing import read_list


def calibrate(args: argparse.Namespace) -> None:
    """Look at labelled images, tell how right the detector is there, and fit its calibration to them."""
    log = Log(args.quiet)
    paths = {kind: Path(path) for kind in ('output', 'diagram', 'wrong') if (path := getattr(args, kind))}
    check_outputs([*paths.values()], overwrite=args.overwrite)
    pointings = read_list(args.list)
    with_infrared = {bool(pointing.infrared) for pointing in pointings}
    if len(with_infrared) > 1:
        raise InputError(
            f'{args.list}: only some of its images have an infrared one: calibrate with these and the others apart, '
            'as another detector looks at them'
        )
    detector = {name: getattr(args, name) for name in DETECTOR}
    associator = Associator(infrared=with_infrared == {True}, **detector)
    associator.load()
    examination = Examination(associator)
    about = dict(beam=args.beam, frequency=args.frequency, survey=args.survey)
    for pointing in log.track(pointings, len(pointings), 'images looked at'):
        examination.add(read_labelled(pointing, args.truth, args.classes, **about))
    findings = examination.findings()
    fitted = findings.fitted(associator.calibration)
    panels = cross_validated(findings, associator.calibration)
    with atomic_outputs([*paths.values()], overwrite=args.overwrite) as made:
        temporary = dict(zip(paths, made, strict=True))
        write_calibration(fitted, temporary['output'], associator.detector.weights_hash)
        if args.diagram:
            draw_reliability(panels, temporary['diagram'])
        if args.wrong:
            wrong_table(findings.wrong, associator.calibration).write(
                temporary['wrong'], format='ascii.csv', overwrite=True
            )
    if not args.quiet:
        print(report(findings, associator.calibration, fitted, panels))
        log.files([*paths.values()])
