"""Commands in processes of their own, two that work together among them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import paperzoo


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        return str(probe.getsockname()[1])


def run(*command: str, cwd: Path) -> None:
    path = os.pathsep.join([str(cwd), str(Path(paperzoo.__file__).parents[1])])
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A group of its own: killing the launcher alone would leave its processes.
        start_new_session=True,
    ) as process:
        try:
            said = process.communicate(timeout=1200)[0]
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, said[-6000:]


def two_processes(*command: str, cwd: Path) -> None:
    launcher = (sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2')
    run(*launcher, '--master-port', free_port(), *command, cwd=cwd)
