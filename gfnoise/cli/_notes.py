"""What the commands made in a folder: a line per file, by which a run that was stopped goes on."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..io import FileError, _locks

NAME = ".gfnoise.jsonl"
LOCK = ".gfnoise.lock"
_REMEDY = "choose another folder, or --overwrite"
_THREADS = 4  # that read files: the kernels' pool would load Numba where nothing is to be done
_T = TypeVar("_T")


class MixtureError(FileError):
    """A folder holds results of a command that were made otherwise."""


class Notes:
    """The notes of a folder, for a run: a command with its settings.

    A file is known by its bytes, and so is what it was made of: no clock is asked, and a copy of
    the folder is as good. So all of them are read when a run goes on, on several threads. The line
    is written when the file is whole but not yet under its name. Lines only ever add what a run
    made: without them, or where they are damaged, a file is a stranger, which is neither taken for
    a result nor written over.

    Runs may come at once. Each asks again just before a file gets its name, while it holds the
    folder's lock: those with the same settings share the work, of others the first to make a file,
    or the last to overwrite, goes on. Where there are no locks, a moment is left in between.

    Parameters
    ----------
    folder : Path
        Where the notes are, and below which the targets are.
    command, settings : str, dict
        What the results depend on; a folder holds those of one setting per command.
    targets : sequence of Path
        What the run shall make.
    overwrite : bool
        Make all of them anew: what is there may be replaced, also by the same run when it goes on.
        Until the first result is whole, the notes stay those of the runs before.

    Attributes
    ----------
    begun : bool
        Whether a result was noted.

    Raises
    ------
    MixtureError
        If a result of the same command is there that was made otherwise.
    FileError
        If a target is there that this run did not make.
    """

    def __init__(
        self,
        folder: Path,
        command: str,
        settings: dict[str, Any],
        targets: Sequence[Path],
        overwrite: bool,
    ):
        self._folder = folder
        self._path = folder / NAME
        self._command = command
        self._settings: dict[str, Any] = json.loads(json.dumps(settings))
        self._run = _key(command, self._settings)
        self._targets = targets
        self.overwrite = overwrite
        self.begun = False
        there = [one for one in targets if one.is_file()]  # before the notes are read
        self._read()
        if not overwrite:
            self._check_mixture()
            for one in there:
                if (self._run, self._name(one)) not in self._names:
                    raise self._stranger(one)

    def due(self, target: Path, found: str | None, source: str) -> bool:
        """Whether a target is missing, or not made of a source with this digest.

        Parameters
        ----------
        found : str or None
            The target's own digest, if it is there.

        Raises
        ------
        FileError
            If it is there, and this run did not make it.
        """
        if found is None:
            return True
        key = (self._run, self._name(target), found)
        if key not in self._made:
            self._read_on()  # the same command may run twice at once
        if key not in self._made:
            raise self._stranger(target)
        return self._made[key] != source

    def put(self, part: Path, target: Path, source: str) -> None:
        """Note that a file is whole, made of a source, and give it the name of the target.

        Raises
        ------
        MixtureError
            If a run with other settings came first, or overwrites.
        FileError
            If another command made the target meanwhile, or notes cannot be written.
        """
        made = digest(part)
        anew = self.overwrite and not self.begun
        rows = self._there() if anew else []
        with _locks.locked(self._folder / LOCK):
            self._read_on()
            if not anew:
                self._check_mixture()
            if not self.overwrite and target.is_file():
                self._check_own(target)
            if anew or self._latest.get(self._command) != self._run:
                rows = [{"command": self._command, "settings": self._settings}, *rows]
            self._append([*rows, self._line(target, made, source)])
            self.begun = True
            os.replace(part, target)

    def _there(self) -> list[dict[str, Any]]:
        """The lines of what is to be replaced."""
        there = [one for one in self._targets if one.is_file()]
        digests = side_by_side(partial(digest, one) for one in there)
        return [
            self._line(one, made.result(), None) for one, made in zip(there, digests, strict=True)
        ]

    def _name(self, target: Path) -> str:
        return target.relative_to(self._folder).as_posix()

    def _line(self, target: Path, made: str, source: str | None) -> dict[str, Any]:
        return {"file": self._name(target), "made": made, "of": source, "run": self._run}

    # --- what is there that should not be ---

    def _check_mixture(self) -> None:
        before = self._latest.get(self._command, self._run)
        if before != self._run and any(
            os.path.isfile(self._folder / name) for run, name in self._names if run == before
        ):
            raise MixtureError(
                f"{self._folder}: holds results made otherwise ({self._other(before)}): {_REMEDY}"
            )

    def _check_own(self, target: Path) -> None:
        if (self._run, self._name(target), digest(target)) not in self._made:
            raise self._stranger(target)

    def _stranger(self, target: Path) -> FileError:
        name = self._name(target)
        runs = [run for run, known in self._names if known == name and run in self._runs]
        if not runs or self._run in runs:
            by = f"as far as {NAME} tells"
        elif self._runs[runs[-1]][0] == self._command:
            by = f"but with other settings ({self._other(runs[-1])})"
        else:
            by = f"but by {self._runs[runs[-1]][0]!r}"
        return FileError(f"{target}: was not made by this command, {by}: {_REMEDY}")

    def _other(self, run: str) -> str:
        """In what a run's settings differ from this one's."""
        old, new = self._runs[run][1], self._settings
        other = [key for key in new if old.get(key) != new[key]]
        return ", ".join(f"{key} {old.get(key)!r}, now {new[key]!r}" for key in other)

    # --- the file ---

    def _read(self) -> None:
        """Read what is there: anybody may have written it."""
        self._runs: dict[str, tuple[str, dict[str, Any]]] = {}
        self._latest: dict[str, str] = {}  # of a command: the run
        self._names: dict[tuple[str, str], None] = {}  # run and file, in order
        self._made: dict[tuple[str, str, str], str | None] = {}  # run, file, bytes: made of what
        self._size = 0  # of the lines that were read
        self._whole = True  # the last line
        self._read_on()

    def _read_on(self) -> None:
        """Read what was added since; a last line that is not whole may be added to."""
        try:
            with self._path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size < self._size:  # it is another file
                    return self._read()
                stream.seek(self._size)
                for line in stream:
                    self._whole = line.endswith(b"\n")
                    self._size += len(line) * self._whole
                    try:
                        self._take(json.loads(line))
                    except (ValueError, RecursionError):
                        continue
        except FileNotFoundError:
            if self._size:
                self._read()
        except OSError as error:
            raise FileError(f"{self._path}: cannot be read: {error.strerror}") from error

    def _take(self, row: Any) -> None:
        match row:
            case {"command": str(command), "settings": dict(settings)}:
                run = _key(command, settings)
                self._runs[run] = command, settings
                self._latest[command] = run
            case {"run": str(run), "file": str(name), "made": str(made), "of": str() | None as of}:
                self._names.pop((run, name), None)
                self._names[run, name] = None
                self._made[run, name, made] = of

    def _append(self, rows: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows).encode("ascii")
        text = text if self._whole else b"\n" + text
        self._whole = False  # until all of it is written
        try:
            with self._path.open("ab") as stream:
                stream.write(text)
        except OSError as error:
            raise FileError(f"{self._folder}: cannot be written to: {error.strerror}") from error
        self._read_on()


def digest(path: Path) -> str:
    """The BLAKE2b digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def side_by_side(functions: Iterable[Callable[[], _T]]) -> Iterator[Future[_T]]:
    """Call functions on threads, as many ahead of the one that is asked for."""
    waiting: deque[Future[_T]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        for one in functions:
            waiting.append(threads.submit(one))
            if len(waiting) > _THREADS:
                yield waiting.popleft()
        yield from waiting


def _key(command: str, settings: dict[str, Any]) -> str:
    text = json.dumps([command, settings], sort_keys=True).encode("ascii")
    return hashlib.blake2b(text, digest_size=8).hexdigest()
