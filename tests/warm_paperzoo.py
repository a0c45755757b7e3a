"""A `paperzoo` that has torch and mmdet imported already: it forks for each command.

    python warm_paperzoo.py SOCKET              # waits for commands
    python -S warm_paperzoo.py SOCKET ARGUMENT ...   # is one: `paperzoo ARGUMENT ...`

The command runs in the caller's folder, with its variables and open files.
"""

import atexit
import json
import os
import signal
import socket
import sys
import traceback

SIZE = 1 << 20


def ask(path: str, arguments: list[str]) -> int:
    """Let the server run a command; return its exit code."""
    given = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [given], [0, 1, 2])
        return int(connection.recv(8) or b'137')  # killed: nothing is said


def serve(path: str) -> None:
    """Import what is slow to import; then run what is asked for."""
    import paperzoo.compat  # noqa: I001
    import mmdet.apis  # noqa: F401
    import mmseg.apis  # noqa: F401
    import paperzoo.apis.training  # noqa: F401

    # Nobody waits for the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        while True:
            connection, _ = server.accept()
            given, files, *_ = socket.recv_fds(connection, SIZE, 3)
            if os.fork() == 0:
                server.close()
                connection.send(str(run(json.loads(given), files)).encode())
                os._exit(0)
            connection.close()
            for file in files:
                os.close(file)


def run(given: list, files: list[int]) -> int:
    """Run a command in this process, which has just begun; return its exit code."""
    arguments, folder, variables = given
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.argv = ['paperzoo', *arguments]
    code = 0
    try:
        from paperzoo.cli import main

        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        # A text is printed, and an error.
        code = 1 if isinstance(end.code, str) else int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == '__main__':
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
