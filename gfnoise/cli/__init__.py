"""The command line: noisy labels, marginals, thresholds and raters, from files to files."""

import argparse
import contextlib
import importlib
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ._parser import make_parser

__all__ = ["main"]

_EXPECTED = (ValueError, TypeError, ImportError, OSError, NotImplementedError, MemoryError)
_UNREAD = 141  # 128 + SIGPIPE, as a shell says of other programs
_STOPPED = 130  # and SIGINT
_TERMINATED = 143  # and SIGTERM


class _Terminated(KeyboardInterrupt):
    """The process shall end: what `timeout`, `docker stop` and batch systems ask for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        0; 2 for bad input, or where stdout cannot be written; 130 where the user stopped it, 143
        where SIGTERM did; 141 where nobody reads its output to the end, as of ``gfnoise ... |
        head -1``. These numbers are those of a shell: 128 and the signal. With 141, all files are
        made.

    Raises
    ------
    SystemExit
        With 2 for arguments that cannot be read, as argparse does.

    Notes
    -----
    While a command runs in the main thread, SIGTERM stops it as Ctrl-C does, unless the program has
    a handler of its own.

    Strengths that are hardly meant, as an amplitude above the length scale, are warned of once, on
    stderr and in the JSON; the status stays 0.

    Examples
    --------
    >>> from gfnoise.cli import main
    >>> main(["marginals", "missing.nii.gz", "-o", "out.nii.gz", "--amplitude", "2"])
    2
    """
    parser = make_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # after --help as well
        raise SystemExit(_print("gfnoise", "") or stop.code) from None
    if args.command is None:
        return _print("gfnoise", parser.format_help())
    name = f"gfnoise {args.command}"
    try:
        with _terminable():
            result = importlib.import_module("gfnoise.cli._commands").RUN[args.command](args)
    except KeyboardInterrupt as stop:
        _tell(f"{name}: stopped{_resumption(args)}")
        return _TERMINATED if isinstance(stop, _Terminated) else _STOPPED
    except _EXPECTED as error:
        _tell(f"{name}: {str(error) or type(error).__name__}")
        return 2
    if args.json:
        text = json.dumps(_plain(result), indent=2, allow_nan=False)
    else:
        text = importlib.import_module("gfnoise.cli._reports").TEXT[args.command](result)
    status = _print(name, text + "\n")
    for text in result.get("warnings", ()):
        _tell(f"{name}: warning: {text}")
    for failure in result.get("failed", ()):
        _tell(f"{name}: {failure['error']}")
    return 2 if result.get("failed") else status


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM raise, where it would end the process at once and leave what is half made."""

    def stop(number: int, frame: Any) -> None:
        raise _Terminated

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _print(name: str, text: str) -> int:
    """Write to stdout all that there is, and return the exit status."""
    if sys.stdout is None:  # closed from the start: what is printed goes nowhere
        return 0
    encoding = sys.stdout.encoding or "utf-8"  # which may have no ±, and no name of a file
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError):  # what is left would fail again when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return _UNREAD
        _tell(f"{name}: stdout cannot be written: {error.strerror or error}")
        return 2
    return 0


def _tell(text: str) -> None:
    """Write a line to stderr, if anybody reads it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr)


def _resumption(args: argparse.Namespace) -> str:
    """How a stopped command can go on, if it can."""
    if not hasattr(args, "overwrite"):
        return ""
    notes = getattr(args, "notes", None)
    replaced = args.overwrite and notes is not None and notes.begun
    return "; the same command" + " without --overwrite" * replaced + " goes on"


def _plain(value: Any) -> Any:
    """What JSON can hold: no NaN, no infinity."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
