"""The README's figures are those of benchmarks/results, and there are no others."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import elsewhere
import measured
import on_gpu
import quotes
import report
import scaling
from measured import Case

README = report.TOP.read_text(encoding="utf-8")
AGAIN = "python benchmarks/report.py"
FIGURE = re.compile(r"\d\s?(?:x|times|ms|µs|us|ns|ps|s|seconds|minutes|bytes|B|[kMG]i?B)\b")


@pytest.fixture(scope="module")
def run():
    return measured.read()


def case(name, seconds, stem="field", params=(), **info):
    info = {"voxels": 1000, "reference": "NumPy", "reference_median": 1.0, **info}
    return Case(stem, name, dict(params), seconds, info)


@pytest.fixture(scope="module")
def small(run):
    """Three cases whose figures are plain."""
    cases = [case("f[a-0]", 0.1), case("f[b-0]", 0.0301), case("f[a-1]", 2.0, stem="torch")]
    return replace(run, cases=cases, threads=3)


# What is written


def test_the_readme_quotes_the_results(run):
    assert len(quotes.BLOCK.findall(README)) == README.count("benchmarks/quotes/") > 0
    assert quotes.put(README, run) == README, AGAIN


def test_the_report_is_made_from_the_results(run):
    assert (report.FOLDER / "README.md").read_text(encoding="utf-8") == report.report(run), AGAIN


def test_the_picture_is_made_from_the_results(run):
    image = pytest.importorskip("PIL.Image")
    with image.open(report.PICTURE) as picture:
        assert picture.info["Description"] == scaling.source(run), AGAIN


def test_every_figure_is_a_quote():
    """No speed, memory or start-up is written by hand: neither in the README nor in a template."""
    assert FIGURE.findall(quotes.BLOCK.sub("", README)) == []
    for template in quotes.TEMPLATES.iterdir():
        text = quotes.QUOTE.sub("", template.read_text(encoding="utf-8"))
        assert FIGURE.findall(text) == [], template.name


@pytest.mark.parametrize("text", ["6 to 7 ms", "32x", "4.1 times", "0.3 bytes", "40 s,", "2 GB"])
def test_a_figure_is_known_as_one(text):
    assert FIGURE.search(text)


@pytest.mark.parametrize("text", ["97x131x65", "128³", "order 1", "1e-3 a²", "2 samples", "3D"])
def test_other_numbers_are_not(text):
    assert not FIGURE.search(text)


@pytest.mark.parametrize("page", [report.TOP, report.FOLDER / "README.md"], ids=["top", "suite"])
def test_tables_are_rectangular(page):
    tables = re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert tables
    for table in tables:
        widths = {row.replace(r"\|", "").count("|") for row in table.splitlines()}
        assert len(widths) == 1, table


def test_a_run_on_a_gpu_is_reported(tmp_path):
    assert "Not measured yet" in "\n".join(on_gpu.section(tmp_path / "cuda.json"))
    info = {
        "on_gpu": "cupyx; a copy",
        "device": "A GPU",
        "driver": 13000,
        "cuda": 12090,
        "cupy": "14.0.0",
        "commit": "0123456789abcdef",
        "ps_per_voxel": 2.345,
        "ps_per_voxel_replayed": 1.5,
        "against_reference": 101.26,
        "against_moving": 3.25,
        "extra_bytes_per_voxel": 0.125,
        "reference_bytes_per_voxel": 24.0,
    }
    cases = [("test_sample_labels[0-8]", info), ("test_compiling[8]", {"variants": 3})]
    run = {
        "benchmarks": [{"name": name, "extra_info": found} for name, found in cases],
        "commit_info": {"id": "f" * 40},
        "datetime": "2026-01-02T03:04:05",
    }
    (tmp_path / "cuda.json").write_text(json.dumps(run))
    *_, row, _ = lines = on_gpu.section(tmp_path / "cuda.json")
    assert (
        "A GPU, CUDA 12090 and driver 13000, CuPy 14.0.0, commit 0123456789ab, 2026-01-02:" in lines
    )
    assert row.split("|")[1:-1] == [
        *(" `sample_labels[0-8]` ", " cupyx; a copy ", " 2.35 ", " 1.50 ", " **101.3** "),
        *(" 3.2 ", " 0.12 ", " 24.0 "),
    ]


def test_another_machine_is_reported(small):
    """By what was measured on both."""
    other = replace(
        small, cpu="Another CPU", cases=[case("f[a-0]", 0.25), case("f[c-0]", 1.0), case("g", 1.0)]
    )
    lines = elsewhere.section(small, other)
    assert any(line.startswith("Another CPU, 3 threads, ") for line in lines)
    *_, rule, row, last = lines
    assert (rule, last) == ("|---|---|---:|---:|---:|", "")
    assert row == "| `f[a-0]` | NumPy | 10.0 | **4.0** | 250.00 |"


def test_another_machines_cases_are_quoted_and_in_no_table(run):
    (found,) = quotes.chosen("elsewhere.optimal_threshold[float32-128x128x128]", run)
    (ours,) = quotes.chosen("thresholding.optimal_threshold[float32-128x128x128]", run)
    assert found.ratio > 1
    assert found != ours
    assert {case.stem for case in run.races}.isdisjoint({"elsewhere", "peers"})


# How quotes are made


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{threads} threads", "3 threads"),
        ("{ms field.f[a-0]}", "100 ms"),
        ("{s field.f[a-0]}", "0.10 s"),
        ("{ratio field.f[a-0]} and {ms field.f[b-0]}", "10x and 30 ms"),
        ("{ratio field.f[*]}", "10 to 33x"),
        ("{ratio torch.f[*]}", "0.50x"),
        ("{ns *.f[a-*]}", "100000 to 2000000 ns"),
        ("| case | {|ratio field.f[*-0]} |", "| case | 10x | 33x |"),
        ("{lost}", "nowhere"),
        ("no quote: {}, {1}", "no quote: {}, {1}"),
    ],
)
def test_quotes_are_filled_in(small, template, expected):
    assert quotes.fill(template, small) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0"), (0.263, "0.26"), (1.0, "1.0"), (9.94, "9.9"), (9.96, "10"), (334.8, "335")],
)
def test_numbers_have_two_digits(value, text):
    assert quotes.number(value) == text


def test_a_quote_of_nothing_says_so(small):
    with pytest.raises(LookupError, match=r"no benchmark is called field\.g"):
        quotes.fill("{ms field.g}", small)
    with pytest.raises(LookupError, match="milliseconds is no quantity; there are ratio, copies, "):
        quotes.fill("{milliseconds field.f[a-0]}", small)
    with pytest.raises(LookupError, match=r"field\.f\[a-0\] has no copy_median"):
        quotes.fill("{copies field.f[a-0]}", small)


def test_what_is_lost_is_named(small):
    lost = replace(small, cases=[*small.cases, case("g", 1.5), case("h[1]", 3.0, stem="raters")])
    assert lost.lost == "`g`, `h[1]`"  # the torch layer is compared with the library itself


def test_only_blocks_are_written(small, monkeypatch, tmp_path):
    (tmp_path / "a.md").write_text("{threads} threads\n\n| a | b |\n", encoding="utf-8")
    monkeypatch.setattr(quotes, "TEMPLATES", tmp_path)
    start, end = "<!-- benchmarks/quotes/a.md, as is -->\n", "<!-- end -->\n"
    made = quotes.put(f"before\n{start}old\n\nold\n{end}between\n{start}{end}after\n", small)
    block = f"{start}3 threads\n\n| a | b |\n{end}"
    assert made == f"before\n{block}between\n{block}after\n"
    assert quotes.put(made, small) == made


def test_long_paragraphs_are_broken_and_tables_are_not():
    words = "a `word` " * 40
    paragraph, row = quotes.wrapped(f"{words}\n\n| {words} |").split("\n\n")
    assert max(map(len, paragraph.splitlines())) <= quotes.WIDTH
    assert row == f"| {words} |"


def test_a_line_for_each_order_or_number_of_threads(run):
    """By what is varied, whatever the order of the parameters."""
    cases = [
        case("voxels[0-64]", 1.0, "scaling", {"order": 0, "side": 64}),
        case("voxels[1-64]", 1.0, "scaling", {"side": 64, "order": 1}),
        case("threads[2-64]", 1.0, "scaling", {"threads": 2, "side": 64}),
        case("threads[1-64]", 1.0, "scaling", {"threads": 1, "side": 64}),
        case("f", 1.0),
    ]
    found = scaling.lines(replace(run, cases=cases))
    assert {test: list(drawn) for test, drawn in found.items()} == {
        "voxels": ["order 0", "order 1"],
        "threads": ["2 threads", "1 thread"],
    }
    assert found["voxels"]["order 1"] == {64: cases[1]}


def test_the_picture_is_drawn(run, tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    scaling.plot(run, tmp_path / "scaling.png")
    with image.open(tmp_path / "scaling.png") as picture:
        assert picture.width > 1000
        assert picture.info["Description"] == scaling.source(run)
