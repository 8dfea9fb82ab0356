"""What the sanitizers run: one small case per kernel, each a function of the launcher."""

from collections.abc import Callable

from cuda_on_host import controls
from cuda_on_host.launcher import HostLauncher

# name -> case; a case runs public functions through the launcher, or launches by itself
CASES: dict[str, Callable[[HostLauncher], None]] = {}


def launcher(**options: object) -> HostLauncher:
    """Return the launcher that the cases get."""
    return HostLauncher(**options)


def control(name: str) -> Callable[[HostLauncher], None]:
    """Return a case that launches a control kernel, whose source is not the library's."""
    run = getattr(controls, name)

    def case(launcher: HostLauncher) -> None:
        options = {"order": launcher.order, "seed": launcher.seed, "threads": launcher.threads}
        run(HostLauncher(controls.source, sanitizers=launcher.sanitizers, **options))

    return case


for right in controls.RIGHT:
    CASES[f"control:{right.__name__}"] = control(right.__name__)
