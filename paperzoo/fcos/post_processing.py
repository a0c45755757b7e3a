"""From the maps of the head to detections."""

from typing import Any

import torch
from jaxtyping import Float, Int
from mmcv.ops import batched_nms
from mmdet.models.dense_heads import AnchorFreeHead
from mmdet.structures.bbox import get_box_tensor, get_box_wh, scale_boxes
from mmengine.structures import InstanceData
from torch import Tensor

from paperzoo.utils.errors import check_choice

CHOICES = {
    'score_mode': ('product', 'sqrt'),
    'rank_by': ('cls', 'product'),
    'threshold_by': ('cls', 'product'),
}
# Boxes among which the best detections nearly always are.
_FIRST = 1000
# From here on batched_nms treats the classes one by one.
_SPLIT = 10000
_PLAIN = {'type', 'iou_threshold', 'offset', 'class_agnostic'}


def score_options(test_cfg: Any) -> dict[str, str]:
    """Return how a test_cfg wants detections scored; what it leaves out is mmdet's.

    Args:
        test_cfg: A dictionary, or None.

    Raises:
        UserError: If a value means nothing.
    """
    given = test_cfg or {}
    options = {key: given.get(key, allowed[0]) for key, allowed in CHOICES.items()}
    for key, value in options.items():
        check_choice('FCOSHead', f'test_cfg.{key}', value, CHOICES[key])
    return options


def level_candidates(
    scores: Float[Tensor, 'points classes'],
    quality: Float[Tensor, ' points'],
    threshold: float,
    most: int,
    options: dict[str, str],
) -> tuple[Int[Tensor, ' kept'], Int[Tensor, ' kept'], Float[Tensor, ' kept']]:
    """Return the point, the class and the score of the candidates of one level.

    Args:
        scores: Probability of each class.
        quality: Probability that multiplies it: centre-ness, or predicted IoU.
        threshold: Only scores above it count.
        most: How many to keep at most; below 0, all but the last so many.
        options: Of `score_options`.

    Returns:
        The candidates by falling score, or class score, as `rank_by` says; of equal
        ones the earlier point first.
    """
    # Few points have a candidate at all, and their largest score is found fast.
    busy = torch.nonzero(scores.amax(dim=1) > threshold).squeeze(1)
    scores = scores[busy]
    row, label = torch.nonzero(scores > threshold, as_tuple=True)
    cls, point = scores[row, label], busy[row]
    product = cls * quality[point]
    if options['threshold_by'] == 'product':
        # The product is below the class score: none is missing.
        above = torch.nonzero(product > threshold).squeeze(1)
        point, label, cls, product = (v[above] for v in (point, label, cls, product))
    rank = cls if options['rank_by'] == 'cls' else product
    best = rank.sort(descending=True, stable=True).indices[: min(most, len(rank))]
    score = product[best]
    if options['score_mode'] == 'sqrt':
        score = score.sqrt()
    return point[best], label[best], score


def suppress(results: InstanceData, nms: Any, most: int) -> InstanceData:
    """Return the best detections, of overlapping ones of a class only the better one.

    Plain suppression goes from the best box to the worst, so once it has kept `most`
    the rest cannot matter: the best boxes are tried alone first.

    Args:
        results: `bboxes`, `scores` and `labels` of the candidates.
        nms: Configuration of mmcv's `batched_nms`.
        most: How many detections to return at most.
    """
    boxes = get_box_tensor(results.bboxes)
    plain = nms is not None and nms.get('type', 'nms') == 'nms' and set(nms) <= _PLAIN
    if plain and 0 < most < _FIRST < len(boxes) < _SPLIT:
        falling, order = results.scores.sort(descending=True)
        # The largest coordinate decides how far batched_nms moves the classes apart:
        # with it the numbers are the same to the last bit.
        outermost = boxes.amax(dim=1).argmax()
        few = torch.cat((order[:_FIRST], outermost[None])).unique()
        # Which of equal scores is first depends on all the others.
        if (falling[:_FIRST] > falling[1 : _FIRST + 1]).all():
            found = results[few]
            kept = batched_nms(boxes[few], found.scores, found.labels, nms)[1]
            if len(kept) > most:
                return found[kept[:most]]
    rated, kept = batched_nms(boxes, results.scores, results.labels, nms)
    results = results[kept]
    results.scores = rated[:, -1]  # other kinds of suppression change them
    return results[:most]


class FCOSPostProcessing(AnchorFreeHead):
    """The prediction of an FCOS head: scores, candidates, suppression.

    At the defaults the detections are exactly those of mmdet, of which these keys of
    `test_cfg` are known: `nms_pre`, `score_thr`, `min_bbox_size`, `nms`, `max_per_img`.
    Three are ours:

    - `score_mode`: `'product'` of class score and centre-ness, or its root, `'sqrt'`,
      as the authors have it;
    - `rank_by`: which candidates `nms_pre` keeps: the best by class score, `'cls'`, or
      by the `'product'`, as the authors do;
    - `threshold_by`: what `score_thr` is compared with, `'cls'` or the `'product'`
      (AdelaiDet's THRESH_WITH_CTR).

    Paper: fcos "Center-ness"
    """

    def _predict_by_feat_single(
        self,
        cls_score_list: list[Tensor],
        bbox_pred_list: list[Tensor],
        score_factor_list: list[Tensor],
        mlvl_priors: list[Tensor],
        img_meta: dict,
        cfg: Any,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceData:
        """Return the detections of one image; the arguments are mmdet's."""
        cfg = self.test_cfg if cfg is None else cfg
        options = score_options(cfg)
        kept = []
        for logits, distances, quality, priors in zip(
            cls_score_list, bbox_pred_list, score_factor_list, mlvl_priors, strict=True
        ):
            point, label, score = level_candidates(
                self._class_scores(logits.permute(1, 2, 0).flatten(0, 1)),
                quality.flatten().sigmoid(),
                cfg.get('score_thr', 0),
                cfg.get('nms_pre', -1),
                options,
            )
            # Only what is kept is gathered and decoded.
            ltrb = distances.flatten(1)[:, point].T
            kept.append((ltrb, priors[point], score, label))
        ltrb, priors, scores, labels = map(torch.cat, zip(*kept, strict=True))
        boxes = self.bbox_coder.decode(priors, ltrb, max_shape=img_meta['img_shape'])
        results = InstanceData(bboxes=boxes, scores=scores, labels=labels)
        return self._bbox_post_process(results, cfg, rescale, with_nms, img_meta)

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: Any,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """Return the candidates in the image's own size, after suppression."""
        if rescale and img_meta is not None:
            inverse = [1 / factor for factor in img_meta['scale_factor']]
            results.bboxes = scale_boxes(results.bboxes, inverse)
        if cfg.get('min_bbox_size', -1) >= 0:
            width, height = get_box_wh(results.bboxes)
            results = results[
                (width > cfg.min_bbox_size) & (height > cfg.min_bbox_size)
            ]
        if not with_nms or len(results) == 0:
            return results
        return suppress(results, cfg.nms, cfg.max_per_img)

    def _class_scores(
        self, logits: Float[Tensor, 'points channels']
    ) -> Float[Tensor, 'points classes']:
        if getattr(self.loss_cls, 'custom_cls_channels', False):
            return self.loss_cls.get_activation(logits)
        if self.use_sigmoid_cls:
            return logits.sigmoid()
        return logits.softmax(-1)[:, :-1]
