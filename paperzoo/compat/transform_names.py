"""Inferencers of mmdet and mmseg find the transforms of any config.

Ailment: `DetInferencer`, `MMSegInferencer` and mmseg's `inference_model` look for the
transforms that they replace by comparing their types with bare names. In a pure-Python
config types are classes, and in its dump, which is also what a checkpoint holds, their
paths: "LoadImageFromFile is not found in the test pipeline", KeyError 'seg_map_path'.
mmdet's `analyze_results` asks a registry for them, which takes no class: TypeError.
Upstream thread: https://github.com/open-mmlab/mmdetection/pull/10840 and
https://github.com/open-mmlab/mmdetection/pull/11905, for mmdet and for classes only.
Delete when: the supported mmdet and mmseg compare classes and the last part of a path.
"""

from typing import Any

from paperzoo.utils.when_imported import when_imported


def apply() -> None:
    """Let the inferencers compare the last parts of names."""
    when_imported('mmdet.apis.det_inferencer', _mend_mmdet)
    when_imported('mmseg.apis.mmseg_inferencer', _mend_mmseg)
    when_imported('mmseg.apis.utils', _mend_preparing)
    when_imported('mmdet.datasets.utils', _mend_loading)


def bare_name(kind: Any) -> str:
    """Return the name of a class, without the modules that it is in.

    Args:
        kind: The class, its name or its path.

    Example:
        >>> from paperzoo.compat.transform_names import bare_name
        >>> bare_name('mmcv.transforms.LoadImageFromFile'), bare_name(dict)
        ('LoadImageFromFile', 'dict')
    """
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def _transform_idx(self: Any, pipeline_cfg: Any, name: Any) -> int:
    """Stand in for the inferencers' `_get_transform_idx`: -1 if there is none."""
    wanted = {bare_name(one) for one in (name if isinstance(name, tuple) else (name,))}
    for number, step in enumerate(pipeline_cfg):
        if bare_name(step['type']) in wanted:
            return number
    return -1


def _mend_mmdet(module: Any) -> None:
    module.DetInferencer._get_transform_idx = _transform_idx


def _mend_mmseg(module: Any) -> None:
    module.MMSegInferencer._get_transform_idx = _transform_idx


def _mend_preparing(module: Any) -> None:
    prepare = module._preprare_data

    def _preprare_data(imgs: Any, model: Any) -> Any:
        for step in model.cfg.test_pipeline:
            if bare_name(step['type']) == 'LoadAnnotations':
                step['type'] = 'LoadAnnotations'
        return prepare(imgs, model)

    module._preprare_data = _preprare_data


def _mend_loading(module: Any) -> None:
    theirs = module.get_loading_pipeline

    def get_loading_pipeline(pipeline: Any) -> Any:
        return theirs([{**step, 'type': _path(step['type'])} for step in pipeline])

    module.get_loading_pipeline = get_loading_pipeline


def _path(kind: Any) -> Any:
    return f'{kind.__module__}.{kind.__name__}' if isinstance(kind, type) else kind
