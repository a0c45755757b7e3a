"""Runs commands of paperzoo in children of one process that has imported everything.

A command alone needs seconds for its imports. Reads one JSON object a line and answers
with one: the exit code, and what was printed.
"""

import ctypes
import json
import os
import resource
import runpy
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any

from paperzoo import cli

PRELOADED = (
    'paperzoo.registry',
    'mmdet.apis',
    'mmseg.apis',
    'matplotlib.figure',
)


def become(uid: int) -> None:
    """Go on as another user, who may still read everything, as Python's own files."""
    library = ctypes.CDLL(None)
    library.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    read_search = 1 << 2  # CAP_DAC_READ_SEARCH: permitted and effective
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    library.capset(header, (ctypes.c_uint32 * 6)(read_search, read_search))


def prepare(task: dict[str, Any]) -> None:
    """Make this process what the task wants: streams, place, limits, user."""
    os.environ.update(task.get('environment', {}))
    for name in task.get('unset', ()):
        os.environ.pop(name, None)
    os.chdir(os.fsencode(task['cwd']))
    if task.get('file_size') is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (task['file_size'],) * 2)
    if task.get('uid') is not None:
        become(task['uid'])
    encoding = task.get('encoding', 'utf-8')
    # As Python makes them at its start: stderr never fails.
    for name, handle, errors in (
        ('stdout', 1, 'strict'),
        ('stderr', 2, 'backslashreplace'),
    ):
        stream = open(  # noqa: SIM115
            handle, 'w', encoding=encoding, errors=errors, closefd=False
        )
        setattr(sys, name, stream)


def child(task: dict[str, Any], out: int, err: int) -> None:
    """Run the command and leave, as a program of its own would."""
    os.setsid()
    if 'stdout' in task:
        out = os.open(task['stdout'], os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 0
    try:
        prepare(task)
        sys.argv = ['paperzoo', *task['arguments']]
        if script := task.get('script'):
            runpy.run_path(script, run_name='__main__')
        else:
            cli.main()
    except SystemExit as error:
        if isinstance(error.code, int):
            code = error.code
        elif error.code is not None:
            print(error.code, file=sys.stderr)
            code = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception as error:
                os.write(2, f'Exception ignored: {error}'.encode())
                code = 120
        os._exit(code)


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """Run a task in a child; say how it ended."""
    # Pipes, for a limit of the size of files is none of what is printed.
    pipes = [os.pipe() for _ in range(2)]
    pid = os.fork()
    if pid == 0:
        child(task, *(writer for _, writer in pipes))
    said = [b'', b'']

    def read(number: int) -> None:
        with os.fdopen(pipes[number][0], 'rb') as stream:
            said[number] = stream.read()

    for _, writer in pipes:
        os.close(writer)
    readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for reader in readers:
        reader.start()
    watch = threading.Timer(task.get('seconds', 300), os.killpg, (pid, signal.SIGKILL))
    watch.start()
    _, status = os.waitpid(pid, 0)
    watch.cancel()
    for thread in (*readers, watch):
        thread.join()
    out, err = (data.decode(errors='replace') for data in said)
    return {'code': os.waitstatus_to_exitcode(status), 'out': out, 'err': err}


def main() -> None:
    """Answer until nobody asks any more."""
    for module in PRELOADED:
        with suppress(ModuleNotFoundError):
            import_module(module)
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what an import prints is no answer
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == '__main__':
    main()
