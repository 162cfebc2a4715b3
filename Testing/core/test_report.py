"""The report: well-formed, whole without a network, and safe whatever the files say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from facts_phantoms import case_facts, with_images
from head_phantoms import template
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.labels.findings import milliliters
from medddpm.preparation.facts import CaseFacts, Flag, Move
from medddpm.preparation.report import ReportData, curves, histogram, page, sheet_name, strip_name, write_report

VOID = {"meta", "img", "input", "br"}
NASTY = "<script>alert('x')</script>\"&"


class Page(HTMLParser):
    """What a browser would see; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def attributes(self, name: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]

    @property
    def words(self) -> str:
        return " ".join(self.text)


def data(
    facts: Sequence[CaseFacts], flags: Sequence[Flag] = (), left_out: Mapping[str, str] | None = None, **changes: object
) -> ReportData:
    out = left_out or {}
    splits = {case.id: ("train", "validation", "test")[k % 3] for k, case in enumerate(facts) if case.id not in out}
    made = {"Source": "brats", "Intensities": "percentile"}
    report = ReportData("Dataset demo", facts, flags, splits, out, (), template(), made)
    return replace(report, **changes)  # type: ignore[arg-type]


FLAGS = (
    Flag("tiny-tumor", "warning", "case-01", "The tumor is tiny: 0.02 mL."),
    Flag("axes", "info", "case-02", "The T1 image has the voxel axes RAS."),
)


@pytest.fixture
def shown(tmp_path: Path) -> Page:
    """A report on four cases with pictures, one of them left out, and a fifth that was never prepared."""
    facts = [case_facts(number) for number in range(4)]
    (tmp_path / "report").mkdir()
    for case in facts[:3]:
        for name in (strip_name(case.id), sheet_name(case.id)):
            (tmp_path / "report" / name).write_bytes(b"picture")
    told = {"case-03": "Left out as asked.", "broken": "broken_t1.nii.gz is truncated."}
    path = write_report(tmp_path, data(facts, FLAGS, told, problems=("Few cases.",)))
    assert path == tmp_path / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_it_tells_every_case_flag_and_reason(shown: Page) -> None:
    words = shown.words
    for number in range(4):
        assert f"case-0{number}" in words
        assert milliliters(case_facts(number).mask.outline_ml) in words
    for text in (
        "The tumor is tiny: 0.02 mL.",
        "voxel axes RAS",
        "Left out as asked.",
        "broken_t1.nii.gz is truncated.",
    ):
        assert text in words
    assert "Few cases." in words and "There is no picture of this case." in words
    assert "3 patients" in words and "1 / 1 / 1" in words


def test_links_lead_somewhere_and_nothing_comes_from_outside(shown: Page, tmp_path: Path) -> None:
    ids = shown.attributes("id")
    assert len(ids) == len(set(ids))
    links = [*shown.attributes("href"), *shown.attributes("src")]
    assert len(shown.attributes("src")) == 3
    for link in links:
        assert link[1:] in ids if link.startswith("#") else (tmp_path / unquote(link)).is_file()
    assert {label for label in (*shown.attributes("aria-labelledby"), *shown.attributes("for"))} <= set(ids)
    assert not [tag for tag, _ in shown.tags if tag in ("script", "link", "iframe", "object")]
    [policy] = [attrs["content"] for tag, attrs in shown.tags if "http-equiv" in attrs]
    assert policy is not None and policy.startswith("default-src 'none'")


def test_pictures_and_charts_have_words(shown: Page) -> None:
    for tag, attrs in shown.tags:
        if tag == "img":
            assert attrs["alt"] and attrs["loading"] == "lazy"
        if tag == "svg":
            assert attrs["role"] == "img" and "cases" in str(attrs["aria-label"])
        if tag == "th":
            assert attrs["scope"] in ("row", "col")
    assert [attrs.get("lang") for tag, attrs in shown.tags if tag == "html"] == ["en"]
    levels = [int(tag[1]) for tag, _ in shown.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))


def test_only_what_a_person_must_see_is_left_when_filtered(shown: Page) -> None:
    articles = {attrs["id"]: attrs["class"] for tag, attrs in shown.tags if tag == "article"}
    assert articles == {
        "case-case-00": "case plain",
        "case-case-01": "case",
        "case-case-02": "case plain",
        "case-case-03": "case",
    }


def test_nothing_from_files_becomes_markup(tmp_path: Path) -> None:
    move = Move(NASTY, 1.0, 1.0, None, False)
    case = with_images(case_facts(0), modality=NASTY, moves=(move,))
    case = replace(case, id=NASTY, patient=NASTY + "p", sentences=(NASTY,))
    flags = (Flag(NASTY, "warning", NASTY, NASTY), Flag("x", '"><script>', NASTY, NASTY))
    report = data([case], flags, {NASTY: NASTY, NASTY + "2": NASTY}, title=NASTY, problems=(NASTY,))
    text = page(tmp_path, replace(report, options_text={NASTY: NASTY}))
    assert "<script" not in text
    shown = Page(text)
    assert not [value for _, attrs in shown.tags for name, value in attrs.items() if name.startswith("on")]
    assert shown.words.count(NASTY) > 10


def test_pictures_with_any_case_name_are_found(tmp_path: Path) -> None:
    case = replace(case_facts(0), id="Fall é+1.2")
    (tmp_path / "report").mkdir()
    for name in (strip_name(case.id), sheet_name(case.id)):
        (tmp_path / "report" / name).write_bytes(b"picture")
    [source] = Page(page(tmp_path, data([case]))).attributes("src")
    assert (tmp_path / unquote(source)).is_file() and " " not in source


def test_an_empty_dataset_has_a_page(tmp_path: Path) -> None:
    assert "No case stands out." in Page(page(tmp_path, data([]))).words


def test_the_look_follows_the_system_and_the_paper(tmp_path: Path) -> None:
    text = page(tmp_path, data([case_facts(0)]))
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert not re.findall(r"https?://|@import|url\(", text)


def test_it_names_case_and_patient_but_no_file(tmp_path: Path) -> None:
    text = page(tmp_path, data([case_facts(number) for number in range(3)], FLAGS))
    assert str(tmp_path) not in text and ".nii" not in text


# Charts

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=40)


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_histograms_stay_inside_their_box_and_count_all(values: list[float]) -> None:
    shown = Page(histogram(values, "mL"))
    [box] = [attrs["viewbox"] for tag, attrs in shown.tags if tag == "svg"]
    width, height = (float(v) for v in str(box).split()[2:])
    bars = [attrs for tag, attrs in shown.tags if tag == "rect"]
    for bar in bars:
        x, y, wide, tall = (float(str(bar[key])) for key in ("x", "y", "width", "height"))
        assert x >= 0 and x + wide <= width and y >= 0 and y + tall <= height and tall > 0
    assert f"{len(values)} cases" in str(shown.attributes("aria-label"))
    assert 1 <= len(bars) <= len(values)


def test_curves_show_the_median_of_the_cases() -> None:
    """Three cases with their voxels in one bin each, two of them in the same: the curve peaks there."""
    peaks = [4, 4, 12]
    histograms = [[1000 if i == peak else 0 for i in range(16)] for peak in peaks]
    shown = Page(curves(histograms))
    [line] = [attrs["points"] for tag, attrs in shown.tags if tag == "polyline"]
    heights = [float(point.split(",")[1]) for point in str(line).split()]
    assert heights.index(min(heights)) == 4 and len(set(heights)) == 2
    assert "most often at 28% of the full range" in shown.attributes("aria-label")[0]


def test_a_case_without_voxels_does_not_spoil_the_curves() -> None:
    Page(curves([[0] * 16, [0] * 16]))
