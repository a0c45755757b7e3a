"""The page: an image, a threshold, what was found, and what happens inside."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.errors import UserError
from paperzoo.serve.answers import Answer, Answers, Explanation
from paperzoo.utils.wording import some

if TYPE_CHECKING:
    import gradio

# Seconds: how often old uploads are looked for, and how old they may get.
_CLEAN = (600, 3600)
_WAITING = 20
# Seconds between two looks at the queue; Gradio's thousand looks a second are felt
# while nobody asks anything.
_IDLE = 0.05
_FIRST = 'Upload an image, or take one with the camera.'
STYLE = """
.gradio-container {
  max-width: 1400px !important; width: 100%; margin: 0 auto !important;
}
#model h1 { font-size: 1.4rem; margin: 0; }
#model p { margin: .2rem 0 0; opacity: .75; }
#said p { font-size: 1.05rem; margin: 0; min-height: 1.6em; }
#inside iframe { width: 100%; height: 80vh; border: 0; background: white; }
"""


def build(answers: Answers, title: str, score: float = 0.3) -> 'gradio.Blocks':
    """Return the page, to be served.

    Args:
        answers: What looks at the images.
        title: What the model is called.
        score: The threshold that the page begins with.

    Example:
        >>> from paperzoo.serve.page import build
        >>> build.__name__
        'build'
    """
    import gradio as gr

    with gr.Blocks(
        title=title, analytics_enabled=False, delete_cache=_CLEAN, fill_width=True
    ) as page:
        gr.HTML(_heading(answers, title), elem_id='model')
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                upload = _upload(answers.folder)
                threshold = gr.Slider(
                    *(0.0, 1.0, score),
                    step=0.01,
                    label='Lowest score',
                    visible=answers.scored,
                    elem_id='score',
                )
            with gr.Column(scale=3, min_width=300):
                said = gr.HTML(_line(_FIRST), elem_id='said')
                with gr.Tabs():
                    with gr.Tab('Result'):
                        found = _result()
                    with gr.Tab('Look inside', visible=not answers.unexplained):
                        inside = _inside()
        _connect(answers, upload, threshold, said, found, inside)
    page.queue(max_size=_WAITING, default_concurrency_limit=1, api_open=False)
    page._queue.sleep_when_free = _IDLE
    return page


def _heading(answers: Answers, title: str) -> str:
    classes = answers.model.classes
    text = f'{len(classes)} classes: {some(classes, 12)}'
    more = f'<p>Not explained here: {escape(answers.unexplained)}.</p>'
    return (
        f'<h1>{escape(title)}</h1><p>{escape(text)}</p>'
        f'{more if answers.unexplained else ""}'
    )


def _line(text: str) -> str:
    return f'<p>{escape(text)}</p>'


def _upload(folder: Path) -> Any:
    """Return the part that takes an image, as a file of the folder and as it came."""
    import gradio as gr

    part = gr.Image(
        label='Image',
        sources=['upload', 'webcam', 'clipboard'],
        height=320,
        buttons=['fullscreen'],
        elem_id='upload',
    )

    def inside(path: str) -> Path:
        file = Path(path).resolve()
        if not file.is_relative_to(folder):
            raise UserError('only an uploaded file is looked at')
        return file

    async def kept(path: str | Path | None) -> str | None:
        return None if path is None else str(inside(str(path)))

    def as_it_came(payload: Any) -> Path | None:
        return inside(payload.path) if payload and payload.path else None

    # Gradio would fetch addresses, and open whatever Pillow opens. Its classes write a
    # file beside those that inherit from them, so that this is a part of one object.
    vars(part).update(async_move_resource_to_block_cache=kept, preprocess=as_it_came)
    return part


def _result() -> list[Any]:
    """Return picture, table and the file of records."""
    import gradio as gr

    return [
        gr.Image(
            label='What the model finds',
            show_label=False,  # it would lie over names in the picture
            interactive=False,
            buttons=['download', 'fullscreen'],
            elem_id='picture',
        ),
        gr.Dataframe(
            label='Records',
            interactive=False,
            max_height=320,
            visible=False,
            elem_id='table',
        ),
        gr.DownloadButton('Download the records', visible='hidden', elem_id='records'),
    ]


def _inside() -> list[Any]:
    """Return the button that asks, the page of explain, and its file."""
    import gradio as gr

    return [
        gr.Button('Explain this image', variant='primary', elem_id='explain'),
        gr.HTML(elem_id='inside'),
        gr.DownloadButton('Download this page', visible='hidden', elem_id='explained'),
    ]


def _offered(file: Path | None) -> Any:
    """Return the new state of a button: there with its file, or hidden without.

    What is not visible at all is made when it is shown, and gets its file later.
    """
    import gradio as gr

    return gr.update(value=file, visible='hidden' if file is None else True)


def _connect(
    answers: Answers,
    upload: Any,
    threshold: Any,
    said: Any,
    found: list[Any],
    inside: list[Any],
) -> None:
    """Say what happens when: one call of the model at a time."""
    import gradio as gr

    button, frame, file = inside

    def look(image: Path | None, score: float) -> list[Any]:
        answer = Answer(_FIRST) if image is None else answers.look(image, score)
        rows = {'headers': answer.columns, 'data': answer.rows}
        return [
            _line(answer.said),
            answer.picture,
            gr.update(value=rows, visible=bool(answer.rows)),
            _offered(answer.records),
        ]

    def explain(image: Path | None, score: float) -> list[Any]:
        told = Explanation(_FIRST) if image is None else answers.explain(image, score)
        # With this base its own links lead within it; without `allow-same-origin` its
        # script cannot touch this page.
        html = told.html.replace('<head>', '<head><base href="about:srcdoc">', 1)
        page = f'<iframe sandbox="allow-scripts" srcdoc="{escape(html)}"></iframe>'
        return [
            _line(told.said) if told.said else page,
            _offered(told.file),
        ]

    one_at_a_time: Any = {
        'inputs': [upload, threshold],
        'concurrency_id': 'model',
        'concurrency_limit': 1,
        'api_visibility': 'private',
    }
    gr.on(
        [upload.change, threshold.change],
        look,
        outputs=[said, *found],
        trigger_mode='always_last',
        show_progress='minimal',
        **one_at_a_time,
    )
    upload.change(
        lambda: ['', _offered(None)],
        outputs=[frame, file],
        api_visibility='private',
    )
    button.click(explain, outputs=[frame, file], **one_at_a_time)
