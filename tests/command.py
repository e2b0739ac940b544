"""The command, run in this process: quicker than a new one, and what it prints and how it ends are the same."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
import traceback
from collections.abc import Iterator
from unittest import mock

from pipeline.cli.app import main


@contextlib.contextmanager
def own_logging() -> Iterator[None]:
    """The command sets level and handlers of the root logger, as for a process of its own: the tests after it have theirs again."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def passerby(*words: object) -> subprocess.CompletedProcess[str]:
    """``passerby WORDS``: exit status, standard output and standard error; a traceback is status 1, as of a process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    given = ["passerby", *map(str, words)]
    with own_logging(), mock.patch.object(sys, "argv", given), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 1
    return subprocess.CompletedProcess(given, code, out.getvalue(), err.getvalue())
