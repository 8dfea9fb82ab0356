"""Runs the cases under sanitizers: `sanitize.py fibers` (ASan, UBSan) or `threads` (TSan).

First the controls: each faulty kernel must be reported, or the sanitizer is blind. Then the cases
of cases.py, which must pass without a report; names after the mode choose some of them.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cuda_on_host import cases, controls
from cuda_on_host.launcher import ORDERS, HostLauncher, compiler

RUNTIME = {"fibers": "libasan.so", "threads": "libtsan.so"}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:exitcode=66",  # Python's own leaks are not ours
    "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=66",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
    "PYTHONMALLOC": "malloc",  # each array a block of its own
}
NO_RANDOM_ADDRESSES = 0x0040000  # personality(2): older TSan runtimes fail on some kernels' layouts


def run(mode: str, *names: str) -> subprocess.CompletedProcess[str]:
    """Run cases in a Python that has the sanitizers' runtime from its start."""
    # libstdc++ before it is needed, so that ASan finds the exceptions it intercepts
    libraries = [
        subprocess.check_output([compiler(), f"-print-file-name={name}"], text=True).strip()
        for name in (RUNTIME[mode], "libstdc++.so.6")
    ]
    if missing := [library for library in libraries if not Path(library).is_absolute()]:
        raise RuntimeError(f"{compiler()} has no {missing[0]}")
    return subprocess.run(
        [sys.executable, __file__, "--inside", mode, *names],
        env={**os.environ, **OPTIONS, "LD_PRELOAD": " ".join(libraries)},
        preexec_fn=lambda: ctypes.CDLL(None).personality(NO_RANDOM_ADDRESSES),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def inside(mode: str, names: list[str]) -> None:
    """Run cases in this process, which has the runtime."""
    if mode == "threads":
        settings = [{"threads": True, "sanitizers": "thread"}]
    else:
        settings = [{"order": order, "sanitizers": "address,undefined"} for order in ORDERS]
    wrong = {control.__name__: control for control in controls.WRONG[mode]}
    launched = set()
    for name in names:
        for options in settings:
            start = time.perf_counter()
            print(f"{name} {options.get('order', '')}", end=" ", flush=True)
            if name in wrong:
                wrong[name](HostLauncher(controls.source, **options))
            else:
                launcher = HostLauncher(**options)
                cases.CASES[name](launcher)
                launched.update(launcher.launches)
            print(f"{time.perf_counter() - start:.2f} s", flush=True)
    if set(names) >= set(cases.CASES) and (never := cases.kernels() - launched):
        sys.exit(f"no case launches {', '.join(':'.join(kernel) for kernel in sorted(never))}")


def check_control(mode: str, name: str) -> None:
    """Raise if a faulty kernel goes unreported."""
    expected = {control.__name__: text for control, text in controls.WRONG[mode].items()}[name]
    done = run(mode, name)
    if done.returncode == 0 or expected not in done.stdout:
        raise AssertionError(f"{name}: no {expected!r} in the report\n{done.stdout}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("mode", choices=RUNTIME)
    parser.add_argument(
        "cases", nargs="*", help="names of cases; without any, the controls and all"
    )
    chosen = parser.parse_args()
    if chosen.inside:
        return inside(chosen.mode, chosen.cases)
    if not chosen.cases:
        for control, text in controls.WRONG[chosen.mode].items():
            check_control(chosen.mode, control.__name__)
            print(f"{control.__name__}: reported ({text})", flush=True)
    done = run(chosen.mode, *(chosen.cases or cases.CASES))
    print(done.stdout, end="")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
