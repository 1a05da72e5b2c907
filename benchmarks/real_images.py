"""Run ``claran run`` on folders of real images and check what comes out.

    python benchmarks/real_images.py -o DIR IMAGE_OR_FOLDER[:SURVEY] ...

For example ``data/first/fields:first data/vlass data/atca``. Each image gets its own tables and picture in DIR; one
line per image tells components, sources, sources of several components, seconds, and whether the tables keep the
contract.
"""

import argparse
import contextlib
import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import QTable

from claran_plugin.catalogue import COMPONENT_COLUMNS, SOURCE_COLUMNS
from claran_plugin.cli import main as claran
from claran_plugin.images import image_files


def main(argv: Sequence[str] | None = None) -> int:
    """Run all images; the exit code is the number of failures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='+', metavar='IMAGE_OR_FOLDER[:SURVEY]')
    parser.add_argument('-o', '--output', type=Path, required=True)
    arguments = parser.parse_args(argv)
    failures = 0
    print(f'{"image":60s} components sources several seconds')
    for path, survey in listed(arguments.images):
        start = time.perf_counter()
        options = ['--survey', survey] if survey else []
        with contextlib.redirect_stdout(io.StringIO()):
            code = claran(['run', str(path), '-o', str(arguments.output), '--overwrite', '--quiet', *options])
        if code:
            print(f'{path.name[:60]:60s} exit code {code}')
            failures += 1
            continue
        stem = path.name.split('.fits')[0]
        components = QTable.read(arguments.output / f'{stem}.components.fits')
        sources = QTable.read(arguments.output / f'{stem}.sources.fits')
        fault = broken_promise(components, sources)
        failures += fault is not None
        print(
            f'{path.name[:60]:60s} {len(components):10d} {len(sources):7d} {np.sum(sources["Assoc"] > 1):7d} '
            f'{time.perf_counter() - start:7.1f} {fault or "ok"}',
            flush=True,
        )
    print(f'{failures} failures')
    return failures


def listed(arguments: Sequence[str]) -> list[tuple[Path, str | None]]:
    """Spell out folders and surveys."""
    found: list[tuple[Path, str | None]] = []
    for argument in arguments:
        name, _, survey = argument.partition(':')
        paths = image_files(name) if Path(name).is_dir() else [Path(name)]
        found += [(path, survey or None) for path in paths]
    return found


def broken_promise(components: QTable, sources: QTable) -> str | None:
    """Tell what the tables do not keep of the output contract, if anything."""
    for table, columns in ((components, COMPONENT_COLUMNS), (sources, SOURCE_COLUMNS)):
        missing = [column.name for column in columns if column.name not in table.colnames]
        if missing:
            return f'columns missing: {missing}'
    if len(components) != sources['Assoc'].sum():
        return 'not a partition'
    if not np.array_equal(np.unique(components['Assoc_id']), np.asarray(sources['Assoc_id'])):
        return 'ids differ'
    if len(components):
        total = components['Total_flux'].sum()
        if not np.isclose(total, sources['Total_flux'].sum(), rtol=1e-6):
            return 'flux is not conserved'
    return None


if __name__ == '__main__':
    raise SystemExit(main())
