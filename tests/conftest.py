"""Kernels are cached per state of their sources: Numba does not see a change to a helper."""

import hashlib
import os
import tempfile
from pathlib import Path

_sources = sorted((Path(__file__).parents[1] / "kernels" / "cpu").glob("*.py"))
_digest = hashlib.sha256(b"".join(path.read_bytes() for path in _sources)).hexdigest()[:16]
os.environ.setdefault(
    "NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"gfnoise-numba-{_digest}")
)
