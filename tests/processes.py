"""Commands of segexp in processes of their own that start in milliseconds.

Each is forked from a server that has imported torch, Hydra and segexp and has done nothing else, so it begins where
``python train.py`` is after some seconds of imports. Exit codes, signals, standard streams, the environment and the
working folder are those of a real process.
"""

import multiprocessing
import os
import resource
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
_PRELOADED = ["segexp.train", "segexp.legacy_cli", "segexp.cli.predict", "segexp.cli.evaluate", "segexp.augment"]
_PRELOADED += ["segexp.report.run_page", "torch._dynamo", "torch.utils.tensorboard", "kornia", "matplotlib.figure"]
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(_PRELOADED)


def script(name, *arguments, cwd, **environment):
    """``python NAME ARGUMENTS`` for a script of the repository, or one of another place."""
    return start(str(ROOT / name), *arguments, cwd=cwd, **environment).ended()


def command(*arguments, cwd=None, file_limit=None, before="", **environment):
    """``segexp ARGUMENTS``. `file_limit`: the most bytes that a file may get; `before`: code that is run first."""
    return start("segexp", *arguments, cwd=cwd, file_limit=file_limit, before=before, **environment).ended()


def first_on_path(folder):
    """PYTHONPATH with `folder` in front of what it holds; its sitecustomize.py is run first."""
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


class start:
    """A process that was begun: ``segexp`` or the path of a script, with its arguments."""

    def __init__(self, *words, cwd=None, file_limit=None, before="", **environment):
        self.words = list(map(str, words))
        self.folder = tempfile.TemporaryDirectory(prefix="segexp-process-")
        self.files = [Path(self.folder.name, name) for name in ("out", "err")]
        for file in self.files:
            file.touch()
        given = self.words, str(cwd or Path.cwd()), os.environ | environment, self.files, file_limit, before
        self.process = _SERVER.Process(target=_begin, args=given)
        self.process.start()

    @property
    def returncode(self):
        return self.process.exitcode

    @property
    def stdout(self):
        return self.files[0].read_text("utf-8", "backslashreplace")

    def send_signal(self, number):
        os.kill(self.process.pid, number)

    def ended(self, timeout=300):
        """Exit code and output, once it is over."""
        self.process.join(timeout)
        if self.returncode is None:
            self.process.kill()
            raise subprocess.TimeoutExpired(self.words, timeout)
        texts = [file.read_text("utf-8", "backslashreplace") for file in self.files]
        self.folder.cleanup()
        return subprocess.CompletedProcess(self.words, self.returncode, *texts)


def _begin(words, cwd, environment, files, file_limit, before):
    for number, file in enumerate(files, 1):
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    added = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part and part not in sys.path]
    sys.path[:0] = added
    for folder in added:
        if (customs := Path(folder, "sitecustomize.py")).is_file():
            runpy.run_path(str(customs))
    exec(before, {})  # the test's own
    sys.argv = list(words)
    if words[0] == "segexp":
        runpy.run_module("segexp.cli", run_name="__main__", alter_sys=False)
    else:
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")
