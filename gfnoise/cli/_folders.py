"""Which files of a folder are a command's input, and where what is made of them goes."""

import os
from pathlib import Path

from .. import io
from ..io import FileError

_DIGITS = 3  # of a copy's number, at least


def sources(path: Path, output: Path | None) -> list[tuple[Path, str]]:
    """Files to read with their names: one, or those of a folder and of the folders in it."""
    if not path.is_dir():
        check_there(path)
        return [(path, path.name)]
    own = real(path)
    made = None if output is None else real(output)
    if made is not None and made.exists() and made.samefile(own):
        raise FileError(f"{output}: expected another folder than the input's")
    within = made is not None and own in made.parents  # then what is there is no input
    found = [
        (one, one.relative_to(path).as_posix())
        for one in sorted(path.rglob("*"))
        if one.name.lower().endswith(io.SUFFIXES) and not one.is_dir()
        if not any(part.startswith(".") for part in one.relative_to(path).parts)
        if not within or made not in real(one).parents
    ]
    if not found:
        beside = f" outside of {output}" * within
        raise FileError(f"{path}: no files {', '.join(io.SUFFIXES)} in this folder{beside}")
    return found


def check_there(path: Path) -> None:
    """Raise FileError where there is neither a file nor a folder."""
    if not path.exists():
        raise FileError(f"{path}: no such file or folder")


def check_apart(path: Path, folder: Path, pairs: list[tuple[Path, Path]]) -> None:
    """Raise FileError where a result would be an input: of this run, by a link, or of a later.

    Parameters
    ----------
    path, folder : Path
        The input, and the folder of the results.
    pairs : list of (Path, Path)
        Each file of the input with a result of it.
    """
    own, made = real(path), real(folder)
    inputs = {real(source) for source in dict(pairs)}
    for source, target in pairs:
        place = real(target.parent) / target.name
        if place in inputs:
            raise FileError(f"{target}: expected another file than the input")
        linked = made not in place.parents
        if own in place.parents and (linked or made in own.parents):
            raise FileError(
                f"{folder}: expected another folder: {source} would be made into {target}, which "
                "is among the input"
            )


def real(path: Path) -> Path:
    """Where a path leads; unlike `Path.resolve`, also if it has links that go in circles."""
    return Path(os.path.realpath(path))


def numbered(name: str, copy: int) -> str:
    """The name of a noisy copy."""
    suffix = next((one for one in io.SUFFIXES if name.lower().endswith(one)), "")
    stem = name[: len(name) - len(suffix)]
    return f"{stem}_noisy{copy:0{_DIGITS}}{name[len(stem) :]}"


def folder_of(path: Path) -> str:
    """The folder of a file, or the folder itself, wherever it is looked at from."""
    return str(real(path if path.is_dir() else path.parent))


def make(folder: Path) -> None:
    """Make a folder, if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be made: {error.strerror}") from error
