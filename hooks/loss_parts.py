"""An mmengine hook that keeps the parts of the training error and draws them."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from claran_plugin.errors import InputError
from claran_plugin.evaluation.learning_curves import FILE, draw_learning_curve, draw_stack, read_losses


@HOOKS.register_module()
class LossParts(Hook):
    """Write the losses of every tenth iteration into the work folder, and draw them (Figures 8 and 9 of the paper).

    ``losses.csv`` holds the samples as they are, not averaged over time as in mmengine's log, and ``losses.png`` the
    learning curve and the parts on top of one another. A resumed training in the same work folder continues the file
    from where its checkpoint was written. ``claran losses`` draws several runs together.

    Parameters
    ----------
    interval : int
        Iterations between samples; the paper has 10.
    draw_interval : int
        Iterations between drawings; there is one at the end in any case.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 10, draw_interval: int = 1000) -> None:
        self.interval, self.draw_interval = interval, draw_interval

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Drop samples of another training, or from after the checkpoint that is resumed."""
        path = Path(runner.work_dir) / FILE
        kept = [row for row in _rows(path) if int(row['iteration']) <= runner.iter] if runner.iter else []
        path.unlink(missing_ok=True)
        for row in kept:
            _append(path, row)

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Keep one sample."""
        iteration = runner.iter + 1
        if iteration % self.interval == 0 and outputs is not None:
            parts = {name: value.item() for name, value in outputs.items() if 'loss' in name and name != 'loss'}
            _append(Path(runner.work_dir) / FILE, dict(iteration=iteration, **parts))
        if iteration % self.draw_interval == 0:
            self._draw(runner)

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Draw what there is."""
        self._draw(runner)

    def _draw(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        try:
            samples = read_losses(folder)
        except InputError:
            return  # shorter than one interval
        figure = Figure(figsize=(7, 7), layout='constrained')
        upper, lower = figure.subplots(2, sharex=True)
        draw_learning_curve(upper, samples, 'C0', folder.name)
        draw_stack(lower, samples)
        upper.set_xlabel('')
        figure.savefig(folder / 'losses.png', dpi=150)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def _append(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line; at once, so that an interrupted training loses none."""
    new = not path.exists()
    with path.open('a', newline='') as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
