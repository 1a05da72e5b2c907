"""Between which values a detector's convolutions give their results: what it takes to run them in eight bits."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from claran_plugin.datasets.packed_subjects import WIDE
from claran_plugin.datasets.training_data import simulated
from claran_plugin.detection.eight_bits import PICTURE, STEPS, Ranges, can_run_in_eight_bits, groups_of
from claran_plugin.detection.inference import Detector, batches
from claran_plugin.errors import InputError
from claran_plugin.fusion import FUSIONS, NEEDS_INFRARED
from claran_plugin.subjects import FIELD_PIXELS

N_EXAMPLES, SEED, BATCH = 96, 20190101, 16


def measure_ranges(detector: Detector) -> dict[str, tuple[float, float]]:
    """Measure the ranges of what a detector's convolutions give, on simulated fields of view.

    Parameters
    ----------
    detector : inference.Detector
        In full precision.

    Returns
    -------
    dict of convolution name, and of `eight_bits.PICTURE`, to (low, high)

    Raises
    ------
    InputError
        Where it cannot run in eight bits.
    """
    model = detector.model
    if not can_run_in_eight_bits(model):
        raise InputError(
            f'{detector.config.filename}: this model cannot run in eight bits, only ones built like the '
            'bundled compact one can; use its weights without ranges'
        )
    preprocessor = model.data_preprocessor
    extremes = [(value - preprocessor.mean) / preprocessor.std for value in (0, STEPS)]
    ranges = {PICTURE: (float(extremes[0].min()), float(extremes[1].max()))}

    def note(name: str) -> Any:
        def hook(module: nn.Module, given: Any, maps: Tensor) -> None:
            ranges[name] = 0.0, max(float(maps.max()), ranges.get(name, (0.0, 1e-6))[1])

        return hook

    hooks = [
        layer.register_forward_hook(note(name))
        for group in groups_of(model)
        for name, layer in group.layers
        if isinstance(layer, nn.Conv2d)
    ]
    try:
        for batch in batches(example_pictures(detector.method, detector.fusion_options), BATCH):
            detector(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return ranges


def example_pictures(method: str, options: Mapping[str, Any]) -> Iterator[NDArray]:
    """Fuse simulated fields of view, (132, 132, 3) uint8 each."""
    rng, infrared_rng = (np.random.default_rng([SEED, k]) for k in (0, 1))
    margin = slice((WIDE - FIELD_PIXELS) // 2, (WIDE + FIELD_PIXELS) // 2)
    for subject in simulated(N_EXAMPLES, rng, infrared_rng=infrared_rng if method in NEEDS_INFRARED else None):
        infrared = None if subject.infrared is None else subject.infrared[margin, margin]
        yield FUSIONS[method](subject.snr[margin, margin], infrared, rms=1.0, **options)


def write_ranges(ranges: Ranges, weights_hash: str, path: str | Path) -> None:
    """Write ranges beside the weights that they were measured with."""
    rounded = {name: [float(f'{value:.5g}') for value in limits] for name, limits in ranges.items()}
    Path(path).write_text(json.dumps(dict(weights=weights_hash, ranges=rounded), indent=1) + '\n')
