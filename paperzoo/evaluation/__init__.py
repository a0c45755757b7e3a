"""Metrics: COCO average precision and panoptic quality.

Import from the modules: some need mmdet, others do not.
"""
