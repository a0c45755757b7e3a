"""A web page on this machine on which anybody tries a model with images of his own.

Files:
    uploads.py: which files are looked at.
    answers.py: what the page says of an image; knows nothing of the web.
    page.py: the page, drawn by Gradio.
    gate.py: what the server lets through: this page, and no file of the machine.
    server.py: from the port to the end.
"""
