"""Components and partitions of them, made by hand."""

import numpy as np

from claran_plugin.claimed import Components

FIELD = 132


def components(xy, island=None, sigma=2.0, flux=None):
    xy = np.asarray(xy, float).reshape(-1, 2)
    n = len(xy)
    return Components(
        xy,
        np.tile(np.eye(2) * sigma**2, (n, 1, 1)),
        np.ones(n) if flux is None else np.asarray(flux, float),
        np.arange(n) if island is None else np.asarray(island, int),
    )


def sources(partition):
    """Give the partition as a set of sets, which knows no order."""
    return {frozenset(np.flatnonzero(partition.labels == k).tolist()) for k in set(partition.labels.tolist())}
