"""How many fields of view a second the networks look at, alone, and whether lower precision sees the same classes.

    python benchmarks/throughput.py [--device D] [--models NAME[=WEIGHTS] ...] [--batches N ...] [--subjects N]
        [--seconds S] [--smoke]

Simulated subjects of 132 x 132 px are fused first; what is timed is all that `Detector` does with the pictures. By
default: the published VGG-16 at 600 px, with random weights where none are given, and the bundled compact detector.
Each precision that differs from single precision on the device is compared with it: of each source that single
precision sees, whether the surest proposal has the same class (of random weights that says nothing).
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from numpy.typing import NDArray

from claran_plugin.boxes import box_iou
from claran_plugin.detection.inference import Detector
from claran_plugin.fusion import FUSIONS, NEEDS_INFRARED
from claran_plugin.models import PACKAGE, PRECISIONS, find_config, find_model
from claran_plugin.simulation import simulate_subject
from claran_plugin.synthetic_infrared import draw_infrared

SIDE = 132
PIXEL_ARCSEC = 1.35
SEEN = 0.3
"""A source is seen where the probabilities of its surest proposal add up to so much."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda:N (default: auto)')
    parser.add_argument('--models', nargs='+', default=['d1_vgg16', 'compact'], metavar='NAME[=WEIGHTS]')
    parser.add_argument('--batches', type=int, nargs='+', help='(default: 16, and on a GPU 64 and 256 as well)')
    parser.add_argument('--subjects', type=int, default=256, help='that are simulated (default: 256)')
    parser.add_argument('--seconds', type=float, default=20, help='of each measurement, at least one pass')
    parser.add_argument('--smoke', action='store_true', help='a few subjects, to see that it works')
    arguments = parser.parse_args(argv)
    if arguments.smoke:
        arguments.models, arguments.subjects, arguments.seconds = ['compact'], 8, 0.0
    print(f'{"model":12}{"precision":>10}{"batch":>7}{"a second":>10}{"ms each":>9}{"GPU, MiB":>10}{"same class":>17}')
    with tempfile.TemporaryDirectory(prefix='claran_') as folder:
        for name in arguments.models:
            measure(name, arguments, Path(folder))


def measure(name: str, arguments: argparse.Namespace, folder: Path) -> None:
    """Measure one model at all precisions and batch sizes."""
    config, weights = model_of(name, folder)
    if torch.cuda.is_available():
        torch.cuda.init()  # before its memory can be asked for
    shown: list[str] = []
    seen: list[InstanceData] = []
    for precision in reversed(PRECISIONS):  # single precision first, with which the others are compared
        detector = Detector(config, weights, arguments.device, precision)
        if detector.precision in shown:
            continue
        shown.append(detector.precision)
        on_gpu = detector.device.type == 'cuda'
        pictures = pictures_for(detector, arguments.subjects)
        for batch in arguments.batches or ([16, 64, 256] if on_gpu else [16]):
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(detector.device)
            found, rate = timed(detector, pictures, batch, arguments.seconds)
            memory = torch.cuda.max_memory_allocated(detector.device) / 2**20 if on_gpu else 0
            seen = seen or found
            same = ''
            if found is not seen:
                agree = same_classes(found, seen)
                same = f'{np.sum(agree)} of {len(agree)}'
            row = f'{name.split("=")[0]:12}{detector.precision:>10}{batch:7d}{rate:10.1f}{1e3 / rate:9.2f}'
            print(f'{row}{f"{memory:.0f}" if on_gpu else "-":>10}{same:>17}', flush=True)


def model_of(name: str, folder: Path) -> tuple[Path, Path]:
    """Find a model NAME[=WEIGHTS]; without weights, given or bundled, write random ones."""
    name, _, given = name.partition('=')
    config = find_config(name)
    if given or config is None or (PACKAGE / 'weights' / f'{config.stem}.pth').is_file():
        found = find_model(name, given or None)
        return found.config, found.weights
    init_default_scope('mmdet')
    torch.manual_seed(0)
    weights = folder / f'{config.stem}.pth'
    torch.save(MODELS.build(Config.fromfile(config).model).state_dict(), weights)
    return config, weights


def pictures_for(detector: Detector, number: int) -> list[NDArray]:
    """Simulate subjects and fuse them as the detector wants them."""
    rng = np.random.default_rng(1)
    pictures = []
    for _ in range(number):
        subject = simulate_subject(rng, SIDE)
        infrared = None
        if detector.method in NEEDS_INFRARED:
            infrared = draw_infrared(rng, (SIDE, SIDE), subject.hosts, PIXEL_ARCSEC)
        pictures.append(FUSIONS[detector.method](subject.snr, infrared, rms=1.0, **detector.fusion_options))
    return pictures


def timed(
    detector: Detector, pictures: Sequence[NDArray], batch: int, seconds: float
) -> tuple[list[InstanceData], float]:
    """Look at all pictures again and again; give what is seen, and pictures a second. The first pass is not timed."""
    found = list(detector.in_batches(pictures, batch))
    passes, start = 0, time.perf_counter()
    while not passes or time.perf_counter() - start < seconds:
        for _ in detector.in_batches(pictures, batch):
            pass
        passes += 1
    return found, passes * len(pictures) / (time.perf_counter() - start)


def same_classes(lower: Sequence[InstanceData], full: Sequence[InstanceData]) -> NDArray:
    """Tell of each source that `full` sees whether `lower` has the same class there; see also `twins`."""
    pairs = [pair for some, all_of_it in zip(lower, full, strict=True) for pair in twins(some, all_of_it)]
    return np.array([one.argmax() == other.argmax() for one, other in pairs], bool)


def twins(lower: InstanceData, full: InstanceData) -> list[tuple[NDArray, NDArray]]:
    """Pair the six probabilities of the surest proposals for the same sources of one picture, `lower`'s first."""
    best, best_full = (each.bboxes[np.arange(len(each.scores)), each.scores.argmax(axis=1)] for each in (lower, full))
    total, total_full = (each.scores.sum(axis=1) for each in (lower, full))
    pairs = []
    for box, scores in zip(best_full, full.scores, strict=True):
        if scores.sum() > SEEN and scores.sum() == total_full[box_iou(box[None], best_full)[0] > 0.5].max():
            pairs.append((lower.scores[np.argmax(total * (box_iou(box[None], best)[0] > 0.5))], scores))
    return pairs


if __name__ == '__main__':
    main()
