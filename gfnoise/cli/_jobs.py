"""The files of a command, one after another: what is not made yet, with notes and a bar."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from .. import io
from ..io import FileError, Image
from . import _folders, _notes

Result = dict[str, Any]
_T = TypeVar("_T")


@dataclass
class Job:
    """A file, by its name within its folder, and the files to make of it.

    With notes, what they know is not made again; without, what is asked for is always made.
    """

    source: Path
    name: str
    targets: list[Path]
    notes: _notes.Notes | None = None
    digest: str = ""  # of the source
    found: list[str | None] | None = None  # the targets' digests, once they are looked at

    def look(self) -> None:
        """Read the bytes of what is there."""
        if self.source.is_file():  # else it is told when it is read
            self.digest = _notes.digest(self.source)
        anew = self.notes is not None and self.notes.overwrite
        self.found = [
            _notes.digest(one) if one.is_file() and not anew else None for one in self.targets
        ]

    def look_ahead(self) -> None:
        """Look before the turn, if nothing is missing: the source is likely not to be read then."""
        if self.notes is None or self.notes.overwrite:
            return
        if all(one.is_file() for one in self.targets):
            self.look()

    def due(self) -> list[int]:
        """Which targets are to be made."""
        if self.notes is None:
            return list(range(len(self.targets)))
        if self.found is None:
            self.look()
        rows = enumerate(zip(self.targets, self.found or (), strict=True))
        return [i for i, (one, made) in rows if self.notes.due(one, made, self.digest)]

    def write(self, i: int, data: NDArray[Any], like: Image) -> None:
        """Make a target."""
        target, notes = self.targets[i], self.notes
        _folders.make(target.parent)
        if notes is None:
            io.write(target, data, like)
        else:
            io.write_atomically(
                target, data, like, lambda part: notes.put(part, target, self.digest)
            )


def one_to_one(args: argparse.Namespace) -> tuple[Path | None, list[Job]]:
    """The folder of the results, if there is one, and a file for a file."""
    if args.input.is_dir():
        found = _folders.sources(args.input, args.output)
        return args.output, [Job(path, name, [args.output / name]) for path, name in found]
    _folders.check_there(args.input)
    if _folders.real(args.output) == _folders.real(args.input):
        raise FileError(f"{args.output}: expected another file than the input")
    return None, [Job(args.input, args.input.name, [args.output])]


def run(
    args: argparse.Namespace,
    command: str,
    folder: Path | None,
    jobs: list[Job],
    settings: Result,
    work: Callable[[Job, list[int]], Result],
    noted: Result | None = None,
) -> Result:
    """Do what is not done yet; a file that fails does not stop the others.

    Into a folder, with notes, which a message of a stopped command asks for (`args.notes`). `noted`
    is what the results depend on beside the settings.
    """
    if folder is not None:
        made_with = settings | {"input": _folders.folder_of(args.input)} | (noted or {})
        args.notes = _take_notes(args, command, folder, jobs, made_with)
    done: list[Result] = []
    failed: list[Result] = []
    for place in {target.parent for job in jobs for target in job.targets}:
        io.sweep(place)
    ahead = _notes.side_by_side(job.look_ahead for job in jobs)
    for job, looked in _progress(zip(jobs, ahead, strict=True), len(jobs), args.quiet):
        row: Result = {"input": job.source, "outputs": job.targets}
        try:
            looked.result()
            due = job.due()
            if job.targets and not due:
                done.append(row | {"there_already": True})
            else:
                done.append(row | work(job, due))
        except (ValueError, TypeError, OSError, MemoryError) as error:
            if not args.input.is_dir() or isinstance(error, _notes.MixtureError):
                raise
            reason = str(error) or type(error).__name__
            text = reason if isinstance(error, FileError) else f"{job.source}: {reason}"
            failed.append({"input": job.source, "error": text})
    return {"command": command, **settings, "files": done, "failed": failed}


def _take_notes(
    args: argparse.Namespace, command: str, folder: Path, jobs: list[Job], made_with: Result
) -> _notes.Notes:
    """Make the folder, and let its notes know of the jobs."""
    if folder.name.lower().endswith(io.SUFFIXES) and not folder.is_dir():
        raise FileError(f"{folder}: expected the name of a folder, got that of a file")
    pairs = [(job.source, target) for job in jobs for target in job.targets]
    _folders.check_apart(args.input, folder, pairs)
    _folders.make(folder)
    targets = [target for _, target in pairs]
    notes = _notes.Notes(folder, command, made_with, targets, args.overwrite)
    for job in jobs:
        job.notes = notes
    return notes


def _progress(jobs: Iterable[_T], count: int, quiet: bool) -> Iterable[_T]:
    """The jobs, with a bar where somebody watches."""
    if quiet or count < 2 or not sys.stderr.isatty():
        return jobs
    try:
        from tqdm import tqdm
    except ImportError:
        return _counted(jobs, count)
    bar: Iterable[_T] = tqdm(jobs, total=count, unit="file", file=sys.stderr)
    return bar


def _counted(jobs: Iterable[_T], count: int) -> Iterator[_T]:
    for i, job in enumerate(jobs):
        print(f"\r{i + 1} of {count} files", end="", file=sys.stderr, flush=True)
        yield job
    print(file=sys.stderr)
