"""Models as one graph from pixels to results, with outputs whose shapes are known.

What `predict` does image by image, with lists and boolean indexing, is done here for a
batch with masks and fixed numbers of results, so that torch.export and ONNX can write
it down. The weights and the networks are the papers' own.

Files:
    inputs.py: normalising, what pads and pools by sizes that only a run knows.
    suppression.py: suppression as one operator, of PyTorch and of ONNX.
    fcos.py, knet.py, semantic.py, episodes.py, sequences.py: from networks to results.
    graph.py, networks.py: a network with its inputs; which one a model gets.
    formats.py: files of torch.export, ONNX and OpenVINO.
"""
