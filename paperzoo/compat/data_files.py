"""YAML and pickle files are data to `mmengine.load`: nothing in them is run.

Ailment: mmengine reads annotations, proposals, class weights and YAML configs with
`pickle.load` and with YAML's full loader. Either calls whatever function the file names
(`!!python/object/apply:os.system`). So do mmseg with images that are pickles, and mmdet
with the hierarchy of OpenImages.
Upstream thread: none; mmengine/fileio/handlers/pickle_handler.py, yaml_handler.py,
mmseg/utils/io.py (`datafrombytes`), mmdet/datasets/openimages.py (`np.load`).
Delete when: the supported packages read these without calling what a file names.

A few lines of YAML whose aliases hold one another stand for any number of values, and
a `Config` copies each: such a file is refused.

A pickle may hold arrays, tensors, mmengine's `InstanceData` (proposals) and plain
containers. YAML may hold plain values and tuples, which mmengine writes.
"""

import io
from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np

from paperzoo.utils.plain_pickle import plain_pickle
from paperzoo.utils.when_imported import when_imported

_REMEDY = (
    'write it as JSON, or read it with pickle where running foreign code does no harm'
)


def apply() -> None:
    """Let mmengine's handlers of YAML and pickles read plain data."""
    if find_spec('mmengine') is None:
        return
    from mmengine.fileio.handlers import PickleHandler, yaml_handler

    from paperzoo.utils.plain_yaml import PlainLoader

    yaml_handler.Loader = PlainLoader
    PickleHandler.load_from_fileobj = _load_from_fileobj
    when_imported('mmseg.utils.io', _mend_images)
    when_imported('mmdet.datasets.openimages', _mend_hierarchy)


def _mend_images(module: Any) -> None:
    def loads(content: bytes) -> Any:
        return plain_pickle(io.BytesIO(content), 'an image', _REMEDY, _more())

    module.pickle = SimpleNamespace(loads=loads)


def _mend_hierarchy(module: Any) -> None:
    class Numpy:
        """NumPy, but for its reading of pickles."""

        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def load(self, file: Any, **_: Any) -> Any:
            return np.load(file, allow_pickle=False)

    module.np = Numpy()


def _load_from_fileobj(self: Any, file: Any, **_: Any) -> Any:
    """Stand in for `PickleHandler.load_from_fileobj`."""
    name = getattr(file, 'name', 'the pickle that was given to mmengine.load')
    return plain_pickle(file, str(name), _REMEDY, _more())


def _more() -> dict[tuple[str, str], Callable]:
    return {
        ('mmengine.structures.instance_data', 'InstanceData'): _Instances,
        ('torch._utils', '_rebuild_tensor_v2'): _tensor,
        ('torch.storage', '_load_from_bytes'): _storage,
    }


class _Instances:
    """What stands for `InstanceData`, filled by the state that follows."""

    def __setstate__(self, state: dict) -> None:
        self.state = state

    def plain(self, plain: Callable[[Any], Any]) -> Any:
        """Return the instances.

        Args:
            plain: Puts arrays in place of their stand-ins.
        """
        from mmengine.structures import InstanceData

        state = plain(self.state)
        made = InstanceData(metainfo={k: state[k] for k in state['_metainfo_fields']})
        made.set_data({key: state[key] for key in state['_data_fields']})
        return made


def _storage(content: bytes) -> Any:
    """Stand in for torch's function, which reads the storage without any check."""
    import torch

    from paperzoo.compat.checkpoints import refuse_boundless

    refuse_boundless(io.BytesIO(content), 'of a tensor in a pickle')
    return torch.load(io.BytesIO(content), weights_only=True)


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Any:
    """Stand in for torch's function; gradients and hooks are left out."""
    from collections import OrderedDict

    import torch

    if not isinstance(storage, torch.storage.TypedStorage):
        raise TypeError('a tensor without a storage')
    return torch._utils._rebuild_tensor_v2(
        storage, offset, size, stride, False, OrderedDict()
    )
