"""K-Net's page: masks by stage, the matching, gates, attention, who won which pixel."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from paperzoo.explain.html.report import Figure, HeatMap, Matrix, Row, Section, Slider
from paperzoo.explain.knet.figures import (
    SHOWN,
    cropped,
    losses_table,
    mosaic,
    painted,
    stage_names,
    update_sections,
)
from paperzoo.explain.knet.trace import KNetView, StageView, explain_semantic
from paperzoo.explain.marks import class_name
from paperzoo.explain.sample import Sample


def sections(model: Any, sample: Sample) -> list[Section]:
    """Return the page of one image.

    Args:
        model: A `KNet`, or a segmentor with a `KNetSemanticHead`, in evaluation mode.
        sample: The image.
    """
    detector = hasattr(model, 'kernel_iter_head')
    count = (
        model.num_thing_classes + model.num_stuff_classes
        if detector
        else model.decode_head.num_classes
    )
    # A checkpoint may know fewer names than classes.
    names = tuple(class_name(sample, label) for label in range(count))
    sample = replace(sample, class_names=names)
    if detector:
        return _detector(model, sample)
    view = explain_semantic(model, sample.inputs, sample.data_sample)
    return _semantic(view, sample)


def _detector(model: Any, sample: Sample) -> list[Section]:
    # The semantic page does without mmdet.
    from paperzoo.explain.knet.page_matching import (
        contest_section,
        matching_sections,
    )
    from paperzoo.explain.knet.trace import explain_detector

    view = explain_detector(model, sample.inputs, sample.data_sample)
    order = _order(view)
    names = [_kernel_name(view.stages[-1], k, sample.class_names) for k in order]
    found = [_masks(view, sample, order, names), _classes(view, sample, order)]
    if view.contest is not None:
        found.append(contest_section(view.contest, sample))
    if view.matches:
        found += matching_sections(view, sample)
    return found + update_sections(view, order, names)


def _semantic(view: KNetView, sample: Sample) -> list[Section]:
    area = view.stages[-1].mask_probs.sum((1, 2))
    order = area.argsort(descending=True)[:SHOWN].tolist()
    names = [sample.class_names[k] for k in order]
    found = [_masks(view, sample, order, names), _class_maps(view, sample)]
    if view.losses:
        found.append(
            Section(
                'What does each stage lose?',
                'Every stage answers for its masks, with the same loss; the first row '
                'is the head whose class weights are the first kernels.',
                [losses_table(view.losses)],
            )
        )
    return found + update_sections(view, order, names)


def _order(view: KNetView) -> list[int]:
    """Return the kernels worth a look: those with an object, then by their score."""
    chosen = [pair.kernel for pair in view.matches[-1].pairs] if view.matches else []
    scores = view.stages[-1].scores
    assert scores is not None  # a detector's last stage has classes
    by_score = scores.argsort(descending=True).tolist()
    return list(dict.fromkeys(chosen + by_score))[:SHOWN]


def _kernel_name(stage: StageView, kernel: int, classes: tuple[str, ...]) -> str:
    if stage.scores is None or stage.labels is None:
        return f'kernel {kernel}'
    label, score = int(stage.labels[kernel]), float(stage.scores[kernel])
    return f'kernel {kernel}: {classes[label]} {score:.2f}'


def _masks(
    view: KNetView, sample: Sample, order: list[int], names: list[str]
) -> Section:
    total = len(view.stages[0].mask_probs)
    # The kernels of semantic segmentation have no scores: they are the classes.
    classes = view.stages[-1].cls_score is not None
    tiles, maps = [], []
    for stage in view.stages:
        probs = cropped(stage.mask_probs[order], sample)
        hover = [_kernel_name(stage, k, sample.class_names) for k in order]
        if not classes:
            hover = list(names)
        tiles.append(mosaic(sample.image, probs, order, hover))
        maps.append(
            Row(
                [
                    HeatMap(prob, f'{name}', over=sample.image, low=0.0, high=1.0)
                    for prob, name in zip(probs[:4], names, strict=False)
                ]
            )
        )
    rule = 'the largest'
    if classes:
        rule = 'those with an object, then the most certain'
    left = f' ({SHOWN} of {total}: {rule})' if total > SHOWN else ''
    return Section(
        'What does each kernel see, and what do the stages change?',
        'A kernel is convolved with the features, and the result is its mask. Each '
        f'tile is one kernel{left}: bright where its mask is. Stages go on from the '
        'kernels that the training has learnt, which are the same for all images.',
        [
            Slider('stage', stage_names(view), tiles),
            Slider('stage', stage_names(view), maps),
        ],
        r'M = \sigma(K * F)' if classes else r'M = \mathrm{softmax}_k (K_k * F)',
        'knet "K-Net"',
    )


def _classes(view: KNetView, sample: Sample, order: list[int]) -> Section:
    frames, labels = [], []
    for name, stage in zip(stage_names(view), view.stages, strict=True):
        if stage.cls_score is not None and stage.labels is not None:
            probs = stage.cls_score[order].sigmoid().numpy().round(3)
            best = list(enumerate(stage.labels[order].tolist()))
            rows = [f'kernel {k}' for k in order]
            frames.append(
                Matrix(probs, rows, sample.class_names, 'probability', marked=best)
            )
            labels.append(name)
    return Section(
        'Who says the class, and who says the mask?',
        'Both come from the same kernel: one small network makes the convolution '
        'kernel from it, another one its class. No thing kernel is bound to a class; '
        'one that has no class with a high probability means no object.',
        [Slider('stage', labels, frames)],
        r'p_i = \sigma(W f(K_i)), \quad M_i = \sigma(g(K_i) * F)',
        'knet "K-Net"',
    )


def _class_maps(view: KNetView, sample: Sample) -> Section:
    frames: list[Figure] = []
    for stage in view.stages:
        best = cropped(stage.mask_probs.argmax(0), sample)
        frames.append(painted(sample.image, best, sample.class_names))
    figures: list[Figure] = [Slider('stage', stage_names(view), frames)]
    if 'gt_sem_seg' in sample.data_sample:
        figures.append(_overlaps(view, sample))
    return Section(
        'Which class kernel wins each pixel?',
        'For semantic segmentation each kernel belongs to one class, so nothing is '
        'matched: a pixel gets the class of the kernel with the highest value.',
        figures,
        r'y = \underset{k}{\mathrm{argmax}} \; K_k * F',
        'knet "K-Net"',
    )


def _overlaps(view: KNetView, sample: Sample) -> Matrix:
    """Return each class's intersection over union at each stage."""
    truth = sample.data_sample.gt_sem_seg.data[0].cpu().numpy()
    height, width = sample.image.shape[:2]
    truth = truth[:height, :width]
    present = np.unique(truth[truth < len(sample.class_names)])
    values = np.zeros((len(present), len(view.stages)))
    for column, stage in enumerate(view.stages):
        best = cropped(stage.mask_probs.argmax(0), sample).astype(np.int32)
        size, nearest = (width, height), cv2.INTER_NEAREST
        large = cv2.resize(best, size, interpolation=nearest)
        for row, label in enumerate(present):
            # What is not annotated is left out.
            found = (large == label) & (truth < len(sample.class_names))
            both = np.logical_and(found, truth == label).sum()
            values[row, column] = both / np.logical_or(found, truth == label).sum()
    names = [sample.class_names[label] for label in present]
    return Matrix(
        values,
        names,
        stage_names(view),
        'intersection over union on this image, of masks before they are enlarged',
    )
