"""A work dir stands for its best checkpoint, or its last one."""

import os
from pathlib import Path

import pytest
import torch

from paperzoo.apis.build import read_checkpoint
from paperzoo.errors import UserError
from paperzoo.utils.run_info import checkpoint_info
from paperzoo.utils.work_dirs import checkpoint_in, last_checkpoint


def test_files_and_addresses_stay(tmp_path: Path) -> None:
    for given in ('epoch_1.pth', 'https://host/a.pth', str(tmp_path / 'a.pth')):
        assert checkpoint_in(given) == given


def test_the_newest_best_one(tmp_path: Path) -> None:
    for age, name in enumerate(('best_b_epoch_9.pth', 'best_a_epoch_10.pth')):
        (tmp_path / name).write_bytes(b'')
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert checkpoint_in(tmp_path) == str(tmp_path / 'best_b_epoch_9.pth')


def test_the_last_one_where_nothing_was_found(tmp_path: Path) -> None:
    (tmp_path / 'last_checkpoint').write_text('elsewhere/epoch_2.pth\n')
    with pytest.raises(UserError, match='holds no checkpoint'):
        checkpoint_in(tmp_path)
    for number in (2, 10):
        (tmp_path / f'epoch_{number}.pth').write_bytes(b'')
    assert checkpoint_in(str(tmp_path)) == str(tmp_path / 'epoch_2.pth')


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    name = b'epoch_\xff.pth'
    (tmp_path / 'last_checkpoint').write_bytes(b'moved/' + name)
    (tmp_path / os.fsdecode(name)).write_bytes(b'')
    assert os.fsencode(checkpoint_in(tmp_path)).endswith(name)


def test_whoever_reads_a_checkpoint_takes_a_work_dir(tmp_path: Path) -> None:
    weights = {'weight': torch.ones(1)}
    torch.save({'state_dict': weights}, tmp_path / 'best_bbox_mAP_epoch_2.pth')
    assert read_checkpoint(tmp_path)['state_dict'].keys() == weights.keys()
    found = checkpoint_info(str(tmp_path))
    assert found['checkpoint'] == str(tmp_path / 'best_bbox_mAP_epoch_2.pth')
    assert len(found['checkpoint_sha256']) == 64


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A work dir with checkpoints, of which the newest is cut off."""
    folder = tmp_path / 'work'
    folder.mkdir()
    for number in (2, 9, 10):
        torch.save({'number': number}, folder / f'epoch_{number}.pth')
    torch.save({}, folder / 'best_mIoU_epoch_11.pth')
    cut = (folder / 'epoch_2.pth').read_bytes()[:-100]
    (folder / 'epoch_100.pth').write_bytes(cut)
    return folder


@pytest.mark.parametrize(
    'said',
    [
        b'',
        b'\n',
        b'..',
        b'/',
        b'/etc',
        b'/etc/passwd',
        b'a\0b',
        b'x' * 5000,
        bytes(range(256)),
        b'gone/epoch_3.pth',
        b'epoch_2.pth\nepoch_9.pth',
        None,
    ],
)
def test_a_pointer_to_nothing(kept: Path, said: bytes | None) -> None:
    if said is not None:
        (kept / 'last_checkpoint').write_bytes(said)
    assert last_checkpoint(kept) == str(kept / 'epoch_10.pth')


def test_a_pointer_that_is_no_file(kept: Path) -> None:
    pointer = kept / 'last_checkpoint'
    pointer.mkdir()
    assert last_checkpoint(kept) == str(kept / 'epoch_10.pth')
    pointer.rmdir()
    os.mkfifo(pointer)
    assert last_checkpoint(kept) == str(kept / 'epoch_10.pth')
    pointer.unlink()
    pointer.symlink_to('/etc/passwd')
    assert last_checkpoint(kept) == str(kept / 'epoch_10.pth')


def test_a_pointer_to_another_folder(kept: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / 'epoch_11.pth'
    (kept / 'last_checkpoint').write_text(str(elsewhere))
    assert last_checkpoint(kept) == str(kept / 'epoch_10.pth')
    elsewhere.touch()  # CheckpointHook.out_dir
    assert last_checkpoint(kept) == str(elsewhere)
    (kept / 'last_checkpoint').write_text('s3://bucket/epoch_11.pth')
    assert last_checkpoint(kept) == 's3://bucket/epoch_11.pth'


def test_none_that_is_whole_is_not_none(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / 'gone') is None
    for number in (8, 7):
        (tmp_path / f'iter_{number}.pth').write_bytes(b'PK')
    assert last_checkpoint(tmp_path) == str(tmp_path / 'iter_8.pth')
    (tmp_path / 'iter_5.pth').mkdir()  # sharded
    assert last_checkpoint(tmp_path) == str(tmp_path / 'iter_5.pth')
