"""Trainings that kill themselves at a named moment, each in a process of its own.

Reads one job a line as JSON, answers with its exit code (-9: killed). A job is forked
from this process, which has imported everything once.

A moment is the n-th event of a phase. Events are the steps of training and validation
(begin and end), and whatever touches a file in the work dir: each opening, renaming and
removing. The files of `saving` and `best` are those of the checkpoints.
"""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub
from mmengine.registry import METRICS
from mmengine.runner import ValLoop

import paperzoo
from paperzoo.apis.config import load_config
from paperzoo.apis.training import set_training_options
from paperzoo.registry import LOOPS, MODELS

# For all jobs at once; not before paperzoo's repairs.
from mmdet import datasets as _datasets  # noqa: F401, isort: skip
from mmdet import models as _models  # noqa: F401, isort: skip

# By epochs: the second and the fourth are better than those before.
SCORES = (0.3, 0.7, 0.5, 0.9)


@METRICS.register_module()
class ScoreOfEpoch(BaseMetric):
    """A score that says which epoch is best."""

    default_prefix = None

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(None)

    def compute_metrics(self, results: list) -> dict[str, float]:
        epoch = MessageHub.get_current_instance().get_info('epoch')
        return {'score': SCORES[epoch]}


class Moments:
    """Counts the events of each phase; at the given one the process is killed."""

    def __init__(self, work_dir: str, phase: str | None, number: int) -> None:
        self.work_dir, self.last = work_dir, (phase, number)
        self.phases = ['start']
        self.counts: Counter = Counter()

    def event(self) -> None:
        phase = self.phases[-1]
        self.counts[phase] += 1
        if (phase, self.counts[phase]) == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, name: str, args: tuple) -> None:
        if name not in ('open', 'os.rename', 'os.remove') or self.phases == ['start']:
            return
        if isinstance(args[0], str | Path) and str(args[0]).startswith(self.work_dir):
            self.event()

    def within(self, owner: Any, method: str, phase: str, *, counted: bool) -> None:
        """Let the calls of a method be a phase, their begin and end events of it."""
        theirs: Callable = getattr(owner, method)

        def called(*args: Any, **kwargs: Any) -> Any:
            self.phases.append(phase)
            if counted:
                self.event()
            try:
                return theirs(*args, **kwargs)
            finally:
                if counted:
                    self.event()
                self.phases.pop()

        setattr(owner, method, called)


def train(job: dict[str, Any]) -> None:
    """Run a training; write how many moments it has had."""
    work_dir = job['work_dir']
    phase, number = job.get('kill') or (None, 0)
    moments = Moments(work_dir, phase, number)
    cfg = load_config(job['config'], job['options'], work_dir=work_dir)
    cfg.val_evaluator = [*_list(cfg.val_evaluator), dict(type='ScoreOfEpoch')]
    set_training_options(cfg, resume=job['resume'])
    model = (
        MODELS.get(cfg.model.type)
        if isinstance(cfg.model.type, str)
        else cfg.model.type
    )
    moments.within(model, 'train_step', 'training', counted=True)
    moments.within(ValLoop, 'run_iter', 'validation', counted=True)
    loop = cfg.val_cfg.get('type')
    moments.within(_loop(loop), 'run', 'validation', counted=True)
    moments.within(CheckpointHook, 'after_train_epoch', 'saving', counted=False)
    moments.within(CheckpointHook, 'after_val_epoch', 'best', counted=False)
    sys.addaudithook(moments.audit)
    paperzoo.train(cfg, preflight=False)
    counts = json.dumps(moments.counts)
    Path(work_dir).with_suffix('.json').write_text(counts)


def _loop(kind: Any) -> Any:
    return (
        ValLoop if kind is None else LOOPS.get(kind) if isinstance(kind, str) else kind
    )


def _list(value: Any) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def fork(job: dict[str, Any]) -> int:
    """Run a job in a process of its own; return its exit code."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    code = 1
    try:
        log = os.open(f'{job["work_dir"]}.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        train(job)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


if __name__ == '__main__':
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # What libraries print is no answer.
    for line in sys.stdin:
        print(fork(json.loads(line)), file=answers, flush=True)
