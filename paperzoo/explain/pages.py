"""Which page explains which model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from paperzoo.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from paperzoo.explain.html.report import Section

SEQUENCES = 'paperzoo.explain.attention.page_sequences'
# Texts, so that a room without its stack does not hinder the others.
PAGES = {
    'paperzoo.fcos.head.FCOSHead': 'paperzoo.explain.fcos.page',
    'paperzoo.knet.detector.KNet': 'paperzoo.explain.knet.page',
    'paperzoo.knet.semantic.KNetSemanticHead': 'paperzoo.explain.knet.page',
    'paperzoo.dmf.classifier.DMFClassifier': 'paperzoo.explain.dmf.page',
    'paperzoo.dmf.protonet.ProtoNet': 'paperzoo.explain.dmf.page',
    'paperzoo.can.classifier.CANClassifier': 'paperzoo.explain.few_shot.page',
    'paperzoo.feat.classifier.FEATClassifier': 'paperzoo.explain.few_shot.page',
    'paperzoo.attention.sequence_models.SequenceModel': SEQUENCES,
}
# What draws several models of a page on one sample: `look` at each, then `sections`.
SEVERAL = {
    'paperzoo.explain.fcos.page': 'paperzoo.explain.fcos.page_several',
    'paperzoo.explain.knet.page': 'paperzoo.explain.knet.page_several',
    'paperzoo.explain.dmf.page': 'paperzoo.explain.few_shot.page_several',
    'paperzoo.explain.few_shot.page': 'paperzoo.explain.few_shot.page_several',
}
# Pages of items of the config's test set, not of images; they have `item`.
ITEM_PAGES = (
    'paperzoo.explain.dmf.page',
    'paperzoo.explain.few_shot.page',
    SEQUENCES,
)
# Layers within any model: explained after its own page, or alone.
ATTENTION = 'paperzoo.explain.attention.page'
LAYERS = {
    'paperzoo.attention.local.LocalSelfAttention2d': ATTENTION,
    'paperzoo.attention.modules.MultiHeadSelfAttention': ATTENTION,
}


def page_of(model: 'nn.Module') -> str:
    """Return the module that explains a model, found by the model or a part of it.

    Args:
        model: The whole network; of its parts the outermost with a page counts.

    Raises:
        UserError: If neither the model nor a part of it has a page.

    Example:
        >>> from torch import nn
        >>> from paperzoo.attention import MultiHeadSelfAttention
        >>> page_of(nn.Sequential(MultiHeadSelfAttention(8, 2)))
        'paperzoo.explain.attention.page'
    """
    found = _listed(model, PAGES) or _listed(model, LAYERS)
    if found is not None:
        return found
    known = ', '.join(name.rpartition('.')[2] for name in (*PAGES, *LAYERS))
    raise UserError(
        f'{type(model).__name__} has no page: models with one of these can be '
        f'explained: {known}'
    )


def sections(model: 'nn.Module', sample: Any) -> list['Section']:
    """Return the sections of a model's page for a sample.

    Raises:
        UserError: If neither the model nor a part of it has a page.

    Example:
        >>> from paperzoo.apis.build import build_model
        >>> from paperzoo.apis.config import load_config
        >>> from paperzoo.explain.api import sample_loader
        >>> cfg = load_config('attention_tagging')
        >>> model = build_model(cfg, 'cpu')
        >>> numbers, load = sample_loader(model, cfg, items=[0])
        >>> sections(model, load(0))[0].title
        'What does the model say?'
    """
    own = page_of(model)
    pages = [own]
    # What is no image is on its own page with all its layers.
    if own not in (ATTENTION, *ITEM_PAGES) and _listed(model, LAYERS):
        pages.append(ATTENTION)
    return [
        section
        for page in pages
        for section in import_module(page).sections(model, sample)
    ]


def _listed(model: 'nn.Module', pages: dict[str, str]) -> str | None:
    """Return the page of the outermost part whose class, or a base of it, is listed."""
    for part in model.modules():
        for base in type(part).__mro__:
            page = pages.get(f'{base.__module__}.{base.__qualname__}')
            if page is not None:
                return page
    return None
