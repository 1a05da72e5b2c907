"""How much each thing counts for that decides which set of islands a detection is of (`division`).

The values were fitted with `benchmarks/division.py`.
"""

from typing import NamedTuple


class DivisionModel(NamedTuple):
    """Parameters of the conditional logit (McFadden 1974) that divides a detection among sets: units of log odds.

    Attributes
    ----------
    fewer, more : float
        For each component that is counted on the set fewer, or more, than the detector sees, it loses this.
    overlap : float
        Per unit of the logarithm of the overlap (IoU) of the set's box with the detector's.
    stranger, density : float
        A set that leaves out an island gets `stranger` + `density` x ln(number of islands in such a box at the image's
        mean density), at most 0, ...
    faint_stranger : float
        ... and this for each that is too faint to be counted.
    between : float
        For each island left out that lies between two of the set.
    kept : float
        Per unit of the logarithm of the share of the box's flux that the set has.
    member : float
        For each island but one.
    faint_member : float
        For each island that is too faint to be counted.
    small_member : float
        On a coarser sky, for each island that is no larger than the beam.
    bare_member : float
        On a coarser sky, for each island that is compact and lies in no extended emission (`Surroundings.bare`), ...
    nucleus : float
        ... and this, if it is in the middle of the set's box; less the farther from it.
    shared, small_shared : float
        On a coarser sky, for each island left out that lies on emission that is counted for the set, if it is larger
        than the beam, and if not.
    lit : float
        On a coarser sky, per unit of the logarithm of the share of the counted emission in the box that the set lies
        on.
    extent : float
        On a coarser sky, for each island, per unit of the logarithm of the extent of the largest component that is
        counted on it, as a share of that of the box's most extended island.
    """

    fewer: float
    more: float
    overlap: float
    stranger: float
    density: float
    faint_stranger: float = 0.0
    between: float = 0.0
    kept: float = 0.0
    member: float = 0.0
    faint_member: float = 0.0
    small_member: float = 0.0
    bare_member: float = 0.0
    nucleus: float = 0.0
    shared: float = 0.0
    small_shared: float = 0.0
    lit: float = 0.0
    extent: float = 0.0


FITTED = DivisionModel(
    fewer=0.04,
    more=1.71,
    overlap=3.26,
    stranger=0.5,
    density=0.56,
    faint_stranger=0.9,
    between=-3.8,
    kept=1.03,
    member=-0.96,
    faint_member=-0.9,
)
COARSE = DivisionModel(
    fewer=2.53,
    more=0.2,
    overlap=3.86,
    stranger=-0.9,
    density=0.37,
    faint_stranger=-1.18,
    between=-0.73,
    kept=-1.47,
    member=0.31,
    faint_member=1.18,
    small_member=-0.6,
    bare_member=-2.33,
    nucleus=1.83,
    shared=-2.63,
    small_shared=-0.8,
    lit=2.58,
    extent=1.1,
)
"""On a coarser sky."""
