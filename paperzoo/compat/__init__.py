"""What lets mmengine, mmcv, mmdet and mmseg run on today's PyTorch without a compiler.

One file per ailment; each names the upstream thread and the condition under which to
delete it. Importing this package applies every remedy once; do it before mmdet is
imported.
"""

from paperzoo.compat import (
    checkpoint_writing,
    checkpoints,
    config_texts,
    config_values,
    cpu_processes,
    data_files,
    find_loader,
    fsdp,
    glip_attention,
    hub,
    image_sizes,
    late_dynamo,
    loss_log,
    meshgrid,
    mmcv_ext,
    package_utils,
    panopticapi,
    run_lengths,
    slow_imports,
    ssd_head,
    sync_batch_norm,
    torchvision_rois,
    torchvision_urls,
    transform_names,
    transformers_names,
)

for _remedy in (
    slow_imports,  # before anything imports mmengine.optim
    late_dynamo,
    image_sizes,  # before anything imports OpenCV
    find_loader,
    package_utils,
    mmcv_ext,
    panopticapi,
    run_lengths,
    torchvision_urls,
    checkpoints,
    config_texts,
    config_values,
    data_files,
    checkpoint_writing,
    cpu_processes,
    fsdp,
    hub,
    loss_log,
    transform_names,
    ssd_head,
    sync_batch_norm,
    torchvision_rois,
    transformers_names,
    glip_attention,
    meshgrid,
):
    _remedy.apply()
