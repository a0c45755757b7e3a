"""What a browser says about a page: how readable, how wide, what it asks for."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

# Texts whose contrast is below the AA of WCAG: 4.5, or 3 for large
# letters. Colours are composed with all backgrounds and opacities above them.
UNREADABLE = """() => {
    const parse = (text) => {
        const numbers = text.match(/[\\d.]+/g).map(Number)
        const scale = text.startsWith('color(') ? 255 : 1
        const [r, g, b, a = 1] = numbers
        return [r * scale, g * scale, b * scale, a]
    }
    const over = (top, below) =>
        [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]))
    const light = (colour) => {
        const [r, g, b] = colour.map((value) => {
            const share = value / 255
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
        })
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const behind = (element) => {
        if (!element) return [255, 255, 255]
        const colour = parse(getComputedStyle(element).backgroundColor)
        return colour[3] === 1 ? colour : over(colour, behind(element.parentElement))
    }
    const opacity = (element) =>
        element ? getComputedStyle(element).opacity * opacity(element.parentElement) : 1
    const found = {}
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walker.nextNode()) {
        const text = walker.currentNode.data.trim()
        const element = walker.currentNode.parentElement
        if (!text || element.closest('script, style, noscript, template')) continue
        if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true}))
            continue
        const box = element.getBoundingClientRect()
        if (box.width < 2 || box.height < 2) continue
        const style = getComputedStyle(element)
        const [r, g, b, alpha] = parse(style.color)
        const ground = behind(element)
        const front = over([r, g, b, alpha * opacity(element)], ground)
        const [low, high] = [light(front), light(ground)].sort((x, y) => x - y)
        const ratio = (high + 0.05) / (low + 0.05)
        const size = parseFloat(style.fontSize)
        const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700)
        if (ratio < (large ? 3 : 4.5))
            found[`${element.tagName}.${element.className}`] =
                `${text.slice(0, 40)}: ${ratio.toFixed(2)}`
    }
    return found
}"""
# Elements that reach beyond the right edge of the window and do not scroll in another.
TOO_WIDE = """() => {
    const scrolls = (element) =>
        element && element !== document.body &&
        (getComputedStyle(element).overflowX !== 'visible' ||
            scrolls(element.parentElement))
    return [...document.querySelectorAll('body *')]
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
        .filter((one) => !scrolls(one.parentElement))
        .map((one) => `${one.tagName}.${one.className}`)
}"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; yield its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


@contextmanager
def opened(browser: Any, width: int, scheme: str = 'light') -> Iterator[tuple]:
    """Open a window; yield it and the list of what goes wrong in it."""
    wrong: list[str] = []
    page = browser.new_page(
        viewport={'width': width, 'height': 900}, color_scheme=scheme
    )

    def leaves(request: Any) -> None:
        if not request.url.startswith(('http://127.0.0.1:', 'data:', 'blob:')):
            wrong.append(f'asks for {request.url}')

    def says(message: Any) -> None:
        if message.type in ('error', 'warning'):
            wrong.append(f'console: {message.text}')

    page.on('request', leaves)
    page.on('console', says)
    page.on('pageerror', lambda error: wrong.append(f'script: {error}'))
    yield page, wrong
    page.close()
