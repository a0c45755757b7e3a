"""Data sets: where they lie, the built-in synthetic ones, checks of annotation files.

Import from the modules: some need mmdet, others do not.
"""
