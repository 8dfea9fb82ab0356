"""The README's figures of speed, memory and start-up: each is quoted from results/.

A block of README.md stands between two comments, the first of which names its template in quotes/.
A template is Markdown with quotes in braces:

- `{cpu}`, `{threads}`, `{date}`, ...: of the run;
- `{ms field.sample_labels[128x128x128-0]}`: a quantity of a case;
- `{ratio filters.gaussian_filter[*]}`: of several, from the least to the largest;
- `{|ratio field.sample_labels[*-0]}`: of several, as the cells of a row.

Results of `peers.json` and `elsewhere.json` are cases of the run as well, by stems of their own.
"""

import re
import textwrap
from pathlib import Path

from measured import Case, Run

TEMPLATES = Path(__file__).parent / "quotes"
BLOCK = re.compile(
    r"(?P<start><!-- benchmarks/quotes/(?P<name>\w+\.md)[^\n]*-->\n).*?(?P<end><!-- end -->)",
    re.DOTALL,
)
QUOTE = re.compile(r"\{(?P<cells>\|?)(?P<quantity>[a-z]+)(?: (?P<cases>[^}]+))?\}")
UNITS = {"ratio": "x", "copies": "x", "s": " s", "ms": " ms", "ns": " ns", "bytes": " bytes"}
WIDTH = 104


def put(readme: str, run: Run) -> str:
    """The README with all its blocks made from their templates."""

    def block(match: re.Match[str]) -> str:
        template = (TEMPLATES / match["name"]).read_text(encoding="utf-8")
        return f"{match['start']}{wrapped(fill(template, run))}\n{match['end']}"

    return BLOCK.sub(block, readme)


def fill(template: str, run: Run) -> str:
    """Put the figures of a run in the place of the quotes."""

    def quote(match: re.Match[str]) -> str:
        quantity, cases = match["quantity"], match["cases"]
        if cases is None:
            return str(getattr(run, quantity))
        unit = UNITS.get(quantity)
        if unit is None:
            raise LookupError(f"{quantity} is no quantity; there are {', '.join(UNITS)}")
        texts = [number(measure(case, quantity)) for case in chosen(cases, run)]
        if match["cells"]:
            return " | ".join(text + unit for text in texts)
        least, most = min(texts, key=float), max(texts, key=float)
        return f"{least} to {most}{unit}" if least != most else least + unit

    return QUOTE.sub(quote, template)


def measure(case: Case, quantity: str) -> float:
    """A quantity of a case, whose run need not have measured it."""
    try:
        return float(getattr(case, quantity))
    except KeyError as error:
        raise LookupError(f"{case.key} has no {error.args[0]}") from None


def chosen(pattern: str, run: Run) -> list[Case]:
    """The cases of a name, in which * stands for anything."""
    expression = ".*".join(map(re.escape, pattern.split("*")))
    found = [case for case in run.cases if re.fullmatch(expression, case.key)]
    if not found:
        raise LookupError(f"no benchmark is called {pattern}")
    return found


def number(value: float) -> str:
    """Two digits, or all of those before the point."""
    return f"{value:#.2g}".rstrip(".") if abs(value) < 10 else f"{value:.0f}"


def wrapped(markdown: str) -> str:
    """Markdown with its paragraphs broken into lines; tables and lists stay as they are."""
    parts = markdown.strip().split("\n\n")
    return "\n\n".join(
        part
        if part.startswith(("|", "-", "#", "!", "```"))
        else textwrap.fill(part, WIDTH, break_on_hyphens=False, break_long_words=False)
        for part in parts
    )
