"""True sources that do not come back: which they are, and what they are taken for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from claran_plugin.calibration import Calibration, membership_probability
from claran_plugin.evaluation.association_scores import exact_recovery
from claran_plugin.evaluation.calibrating import Seen
from claran_plugin.labelled import UNTOLD, LabelledImage


class Wrong(NamedTuple):
    """A true source that does not come back exactly.

    Attributes
    ----------
    image, name : str
    ra, dec : float
        Of its components' flux, deg.
    n_components : int
    n_found : int
        Among how many sources its components are.
    joined : list of str
        Names of the true sources that some of these have components of, '' of such that nobody tells.
    margin : float
        The highest one of these.
    is_large : bool
        Whether that source was found on a far coarser sky.
    """

    image: str
    name: str
    ra: float
    dec: float
    n_components: int
    n_found: int
    joined: list[str]
    margin: float
    is_large: bool


def wrong_sources(image: LabelledImage, seen: Seen) -> list[Wrong]:
    """Describe the true sources of an image that do not come back exactly."""
    members = image.members
    recovered = exact_recovery(members, seen.labels)
    return [_wrong(image, seen, rows) for rows, right in zip(members, recovered, strict=True) if not right]


def _wrong(image: LabelledImage, seen: Seen, rows: list[int]) -> Wrong:
    """Describe what became of a true source with some components."""
    found = np.unique(seen.labels[rows])
    others = np.setdiff1d(np.flatnonzero(np.isin(seen.labels, found)), rows)
    joined = sorted({image.names[number] if number >= 0 else '' for number in image.source[others].tolist()})
    weight = np.maximum(np.nan_to_num(image.components.flux[rows]), 1e-12)
    ((ra, dec),) = image.deg_of(np.average(image.components.xy[rows], axis=0, weights=weight))
    name = image.names[image.source[rows[0]]]
    surest = found[np.argmax(seen.margin[found])]
    return Wrong(
        image.name,
        name,
        float(ra),
        float(dec),
        len(rows),
        len(found),
        joined,
        float(seen.margin[surest]),
        bool(seen.is_large[surest]),
    )


def wrong_table(sources: Sequence[Wrong], calibration: Calibration) -> Table:
    """List the true sources that do not come back exactly, first those that the detector is surest to see otherwise."""

    def surety(one: Wrong) -> float:
        return float(membership_probability(one.margin, one.is_large, calibration))

    wrong = sorted(sources, key=surety, reverse=True)
    columns: dict[str, list] = dict(
        Image=[one.image for one in wrong],
        Source_Name=[one.name for one in wrong],
        RA=[round(one.ra, 6) for one in wrong],
        DEC=[round(one.dec, 6) for one in wrong],
        N_Rows=[one.n_components for one in wrong],
        Found_in=[one.n_found for one in wrong],
        Joined_with=[';'.join(name or UNTOLD[1] for name in one.joined) for one in wrong],
        Assoc_Prob=[round(surety(one), 3) for one in wrong],
    )
    return Table(columns)
