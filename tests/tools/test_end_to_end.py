"""A training through mim: killed, resumed, tested; and the errors a user meets."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.wheel
MIM = str(Path(sys.executable).with_name('mim'))
CONFIG = 'fcos_tiny_shapes.py'
# The same eight images for training and testing: enough for a number above zero.
SMALL = [
    'train_dataloader.dataset.ann_file=annotations/instances_val.json',
    'train_dataloader.dataset.data_prefix.img=val/',
    *(
        f'{split}_dataloader.{option}'
        for split in ('train', 'val', 'test')
        for option in (
            'dataset.indices=8',
            'num_workers=0',
            'persistent_workers=False',
        )
    ),
    'train_dataloader.batch_size=2',
    'train_cfg.max_epochs=30',
    'train_cfg.val_interval=30',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=4',
    'randomness.seed=0',
]


def run(
    *command: str, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=500,
    )


def wait_for(file: Path, process: subprocess.Popen, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not file.exists():
        assert process.poll() is None, f'training ended before {file.name} was there'
        assert time.monotonic() < end, f'{file.name} was not there in time'
        time.sleep(0.05)


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a training that was killed after epoch 2 and then resumed."""
    folder = tmp_path_factory.mktemp('run')
    train = [MIM, 'train', 'paperzoo', CONFIG, '--work-dir', 'work']
    with (folder / 'killed.log').open('w') as log:
        process = subprocess.Popen(
            [*train, '--cfg-options', *SMALL],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        wait_for(folder / 'work' / 'epoch_4.pth', process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (folder / 'work' / 'epoch_30.pth').exists()
    done = run(*train, '--resume', '--cfg-options', *SMALL, cwd=folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (folder / 'resumed.log').write_text(done.stdout + done.stderr)
    return folder


def last_metric(work_dir: Path, key: str) -> float:
    newest = max(work_dir.glob('*/vis_data/scalars.json'))
    rows = [json.loads(line) for line in newest.read_text().splitlines()]
    return next(row[key] for row in reversed(rows) if key in row)


def test_a_killed_training_goes_on_and_ends(trained: Path) -> None:
    log = (trained / 'resumed.log').read_text()
    assert 'resumed epoch' in log
    assert (trained / 'work' / 'epoch_30.pth').exists()
    newest = max((trained / 'work').glob('*/vis_data/scalars.json'))
    epochs = [json.loads(row).get('epoch') for row in newest.read_text().splitlines()]
    assert min(epoch for epoch in epochs if epoch) > 2


def test_mim_test_gives_the_number_that_training_printed(trained: Path) -> None:
    done = run(
        *(MIM, 'test', 'paperzoo', CONFIG, '-C', 'work/epoch_30.pth'),
        *('--work-dir', 'work', '--show-dir', 'pictures', '--show-images', '3'),
        *('--cfg-options', *SMALL),
        cwd=trained,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    printed = last_metric(trained / 'work', 'coco/bbox_mAP_50')
    assert printed > 0
    (file,) = (trained / 'work').glob('*/test_metrics.json')
    record = json.loads(file.read_text())
    assert record['metrics']['coco/bbox_mAP_50'] == printed
    assert f'coco/bbox_mAP: {record["metrics"]["coco/bbox_mAP"]}' in done.stdout
    assert len(record['checkpoint_sha256']) == 64
    assert record['versions']['torch'] == torch.__version__
    assert record['images'] == 8
    assert record['device'].startswith(('CPU', 'NVIDIA'))
    assert (trained / 'pictures' / 'page.png').stat().st_size > 10_000
    # The config that the training left behind is still its own.
    assert (trained / 'work' / CONFIG).exists()
    assert (trained / 'work' / 'fcos_tiny_shapes_test.py').exists()


def test_checkpoint_of_another_model_is_refused(trained: Path) -> None:
    done = run(
        *(sys.executable, '-m', 'paperzoo', 'test', 'fcos_tiny_shapes'),
        *('work/epoch_30.pth', '--cfg-options', 'model.backbone.depth=34', *SMALL),
        cwd=trained,
    )
    assert done.returncode == 1
    assert 'belongs to another model' in done.stderr
    assert 'backbone.layer1.2.conv1.weight' in done.stderr
    assert 'Traceback' not in done.stderr


def test_truncated_checkpoint_is_refused(trained: Path) -> None:
    whole = (trained / 'work' / 'epoch_30.pth').read_bytes()
    (trained / 'half.pth').write_bytes(whole[: len(whole) // 2])
    done = run(
        *(sys.executable, '-m', 'paperzoo', 'test', 'fcos_tiny_shapes', 'half.pth'),
        *('--cfg-options', *SMALL),
        cwd=trained,
    )
    assert done.returncode == 1
    assert 'half.pth' in done.stderr
    assert 'Traceback' not in done.stderr


class Hostile:
    def __reduce__(self) -> tuple:
        return os.system, ('touch it_ran',)


def test_hostile_checkpoint_is_refused_and_not_run(trained: Path) -> None:
    torch.save({'state_dict': {}, 'meta': Hostile()}, trained / 'hostile.pth')
    done = run(
        *(sys.executable, '-m', 'paperzoo', 'test', 'fcos_tiny_shapes', 'hostile.pth'),
        *('--cfg-options', *SMALL),
        cwd=trained,
        TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD='1',
    )
    assert done.returncode == 1
    assert 'hostile.pth' in done.stderr
    assert 'system' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not (trained / 'it_ran').exists()


def test_missing_data_set_is_one_message(tmp_path: Path) -> None:
    environment = {'PAPERZOO_DATA': str(tmp_path / 'nowhere')}
    done = run(
        *(sys.executable, '-m', 'paperzoo', 'train', 'fcos_r50_fpn'),
        cwd=tmp_path,
        **environment,
    )
    assert done.returncode == 1
    assert 'annotations/instances_train2017.json' in done.stderr
    assert 'train2017' in done.stderr
    assert 'fcos_tiny_shapes' in done.stderr
    assert 'Traceback' not in done.stderr
