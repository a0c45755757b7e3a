"""Commands do not show a warning of torch that no user can do anything about.

Ailment: mmdet and mmseg call `torch.meshgrid` without `indexing`; each command shows
"torch.meshgrid: in an upcoming release, it will be required to pass the indexing
argument" once, in the midst of its own lines. The default is what they want.
Upstream thread: https://github.com/open-mmlab/mmdetection/pull/8090
Delete when: mmdet and mmseg pass `indexing='ij'`.
"""

import warnings


def apply() -> None:
    """Hide this one warning; calls of the user's own that lack the argument, too."""
    warnings.filterwarnings('ignore', 'torch.meshgrid: in an upcoming', UserWarning)
