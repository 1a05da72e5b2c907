"""``claran evaluate``."""

import argparse
import warnings
from pathlib import Path

from claran_plugin.catalogue_writing import atomic_outputs, check_outputs
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.evaluation.crossmatch import chosen_classes, cross_match, read_positions
from claran_plugin.evaluation.fields import Fields, read_truth
from claran_plugin.evaluation.predictions import read_predictions
from claran_plugin.evaluation.report import (
    Evaluation,
    Exhibit,
    cross_match_exhibits,
    file_names,
    make_exhibits,
    provenance,
    write_report,
)
from claran_plugin.morphology import CLASSES
from claran_plugin.progress import Log


def evaluate(args: argparse.Namespace) -> None:
    """Write the paper's tables and figures for a set of predictions."""
    log = Log(args.quiet)
    names = file_names(with_cross_match=args.crossmatch is not None)
    paths = check_outputs([Path(args.output) / name for name in names], overwrite=args.overwrite)
    everything = _read(args)
    # first, as the tables of many detections take long
    matched = [] if args.crossmatch is None else _cross_match(args, everything)
    exhibits = [*make_exhibits(_evaluation(args, everything)), *matched]
    facts = provenance(args.predictions, args.truth, everything, args.command_line)
    with atomic_outputs(paths, overwrite=args.overwrite) as temporary:
        write_report(exhibits, facts, dict(zip(names, temporary, strict=True)))
    if not args.quiet:
        log.files(paths)


def _read(args: argparse.Namespace) -> Fields:
    fields = read_predictions(args.predictions, read_truth(args.truth))
    if args.consensus:
        fields = fields.agreed(args.consensus)
        if not fields.names:
            raise InputError(
                f'{args.truth}: no field whose sources all have a consensus level of {args.consensus:g}; '
                'lower --consensus'
            )
    fields = fields.above(args.min_probability)
    if not fields.n_sources:
        warnings.warn(f'{args.truth}: no true sources, so the tables are blank', InputWarning, stacklevel=2)
    if not fields.n_detected.sum():
        text = f'{args.predictions}: no detections' + (
            f' of at least {args.min_probability:g}' if args.min_probability else ''
        )
        warnings.warn(f'{text}, so every score is zero', InputWarning, stacklevel=2)
    return fields


def _evaluation(args: argparse.Namespace, everything: Fields) -> Evaluation:
    fields, choice = everything, 'all detections'
    if args.min_probability:
        choice = f'detections of at least {args.min_probability:g}'
    if args.filter != 'none':
        fields = fields.probable(args.filter_probability)
        choice = f'detections that pass the rule of {args.filter_probability:g}'
    if args.filter == 'likeliest':
        fields = fields.likeliest()
        choice = 'the likeliest detection of each field'
    return Evaluation(fields, everything, args.min_iou, args.filter_probability, choice)


def _cross_match(args: argparse.Namespace, everything: Fields) -> list[Exhibit]:
    classes = chosen_classes(args.crossmatch_class)
    least = args.filter_probability
    match = cross_match(everything.above(least), read_positions(args.crossmatch), classes, args.radius)
    return cross_match_exhibits(match, [CLASSES[k] for k in classes], args.radius, least)
