"""An mmengine hook that makes each training iteration's random numbers its own."""

from typing import Any

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner, set_random_seed


@HOOKS.register_module()
class SeedIterations(Hook):
    """Seed every iteration with the run's seed, its own number and the process's.

    What a model draws (which anchors and proposals are sampled, dropout) then depends on nothing that was drawn before,
    so that a resumed training goes on exactly as if it had not been interrupted; and the processes of a distributed
    training draw differently.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed one iteration."""
        sequence = np.random.SeedSequence((runner.seed, runner.iter, get_rank()))
        set_random_seed(int(sequence.generate_state(1)[0]))
