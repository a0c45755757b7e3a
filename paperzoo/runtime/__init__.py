"""Exported files, run with NumPy and a runtime: neither torch nor mm* is imported.

Files:
    card.py: what a file says of itself, written and checked.
    images.py: images as the file wants them.
    sessions.py: onnxruntime or OpenVINO, behind one call.
    sample.py: what comes out, in the fields of mmdet's and mmseg's samples.
"""
