"""Make the live figures of docs/papers: single sections of `paperzoo explain`.

    python docs/figures.py FOLDER

FOLDER has a checkpoint for each of CONFIGS, as CONFIG.pth: `paperzoo train CONFIG`
makes it in some minutes on two cores.
"""

import sys
from pathlib import Path

import paperzoo.explain

OUT = Path(__file__).parent / 'papers' / 'figures'
# Of each config: which sections, by the begin of their titles, and their files.
CONFIGS = {
    'fcos_tiny_shapes': {
        'Which points are ambiguous': 'fcos_ambiguous',
        'Which points learn which box': 'fcos_points',
        'Where does it expect good boxes': 'fcos_centerness',
    },
    'knet_tiny_shapes_instance': {
        'Who says the class': 'knet_class_and_mask',
        'Why did this kernel': 'knet_matching',
        'How does a kernel change': 'knet_update',
    },
    'dmf_tiny_glyphs': {
        'Where on the support': 'dmf_positions',
        'What does the dynamic filter select': 'dmf_filters',
        'How does the query flow': 'dmf_flow',
    },
    'attention_tagging': {'Whom does a token attend to? encoder.layers.0': 'attention'},
}


def main() -> None:
    """Write the figures."""
    for config, wanted in CONFIGS.items():
        checkpoint = str(Path(sys.argv[1]) / f'{config}.pth')
        on_images = config.startswith(('fcos', 'knet'))
        report = paperzoo.explain.explain(
            config,
            ['data/shapes/val/000004.jpg'] if on_images else (),
            items=() if on_images else [0],
            checkpoint=checkpoint,
            device='cpu',
        )
        for begin, name in wanted.items():
            (section,) = (s for s in report.sections if s.title.startswith(begin))
            one = paperzoo.explain.Report(title=section.title, sections=[section])
            print(one.save(OUT / f'{name}.html'))


if __name__ == '__main__':
    main()
