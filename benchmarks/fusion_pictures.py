"""Draw a radio and infrared pair as F, D1, D2, D3, D4 and S see it.

python benchmarks/fusion_pictures.py RADIO INFRARED -o PICTURE.png [--survey first] [--centre RA DEC]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from claran_plugin.fusion import FUSIONS
from claran_plugin.images import read_image
from claran_plugin.infrared_images import read_infrared
from claran_plugin.subjects import Sky


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('radio', type=Path)
    parser.add_argument('infrared', type=Path)
    parser.add_argument('-o', '--output', type=Path, required=True)
    parser.add_argument('--survey')
    parser.add_argument('--centre', nargs=2, type=float, metavar=('RA', 'DEC'), help='deg; default the brightest pixel')
    arguments = parser.parse_args(argv)
    radio = read_image(arguments.radio, survey=arguments.survey)
    sky = Sky(radio, read_infrared(arguments.infrared, radio))
    if arguments.centre:
        centre = np.array(radio.wcs.world_to_pixel(SkyCoord(*arguments.centre, unit='deg')), float)
    else:
        centre = np.array(np.unravel_index(np.nanargmax(radio.data), radio.shape)[::-1], float)
    subject = sky.cut(centre)
    figure = Figure(figsize=(12, 8), layout='constrained')
    for axes, (name, fuse) in zip(figure.subplots(2, 3).ravel(), FUSIONS.items(), strict=True):
        axes.imshow(fuse(subject.radio, subject.infrared, rms=1.0), origin='lower')
        axes.set_title(name)
        axes.set_axis_off()
    FigureCanvasAgg(figure).print_png(arguments.output)


if __name__ == '__main__':
    main()
