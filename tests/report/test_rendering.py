"""Pages as text, markdown and html, documents as JSON: what must be there, and what no name may become."""

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import HEADER, MIXED

from ckpt_surgeon.report.diff import DiffReport
from ckpt_surgeon.report.header import HeaderReport
from ckpt_surgeon.report.html import render_html
from ckpt_surgeon.report.markdown import render_markdown
from ckpt_surgeon.report.page import Column, Line, Page, Section, Table
from ckpt_surgeon.report.rendering import FORMS, render
from ckpt_surgeon.report.text import render_text
from ckpt_surgeon.spec import Header, TensorSpec

TABLE = Table((Column("key", "code"), Column("size", "number")), (("a.weight", "12"), ("b", "1e5")))
PAGE = Page("title", (Line("good news", "good"), Section("heading", "bad"), TABLE))


def test_text_aligns_numbers_to_the_right_and_reads_none_of_them():
    assert render_text(PAGE) == ("good news\n\nheading\n  key         size\n  --------  ------\n  a.weight      12\n  b            1e5\n")


def test_text_has_no_color_unless_it_is_asked_for():
    assert "\x1b" not in render_text(PAGE)
    colored = render_text(PAGE, color=True)
    assert "\x1b[32mgood news\x1b[0m" in colored
    assert "\x1b[1m\x1b[31mheading\x1b[0m" in colored


def test_plain_lines_stay_plain_among_colors():
    assert render_text(Page("", (Line("words"),)), color=True) == "words\n"


def test_columns_stay_in_line_below_wide_characters_and_marks():
    rows = (("\u6f22\u5b57", "1"), ("e\u0301", "22"), ("abcdef", "333"))
    table = Table((Column("key", "code"), Column("n", "number")), rows)
    drawn = render_text(Page("", (table,))).splitlines()
    assert drawn == [
        "  key       n",
        "  ------  ---",
        "  \u6f22\u5b57      1",
        "  e\u0301        22",
        "  abcdef  333",
    ]


def test_a_column_is_wider_than_its_title_by_two():
    assert render_text(Page("", (Table((Column("key"),), (("a",),)),))) == "  key\n  -----\n  a\n"


def test_a_table_without_rows_is_nothing():
    assert render_text(Page("", (Table((Column("key"),), ()),))) == ""


def test_a_trimmed_table_leaves_out_what_is_empty_everywhere():
    table = Table((Column("a"), Column("b"), Column("c")), (("1", "", ""), ("2", "", "3")))
    assert table.trimmed() == Table((Column("a"), Column("c")), (("1", ""), ("2", "3")))


def test_markdown_is_a_heading_sections_and_tables():
    assert render_markdown(PAGE) == (
        "# title\n\ngood news\n\n## heading\n\n| key | size |\n| --- | --: |\n| `a.weight` | 12 |\n| `b` | 1e5 |\n"
    )


@pytest.mark.parametrize(
    ("text", "kind", "cell"),
    [
        ("a|b", "code", "`a\\|b`"),
        ("a`b", "code", "`` a`b ``"),
        ("a|b", "text", "a\\|b"),
        ("<script>", "text", "\\<script\\>"),
        ("*a* _b_ [c](d)", "text", "\\*a\\* \\_b\\_ \\[c\\]\\(d\\)"),
        ("", "code", ""),
    ],
)
def test_markdown_keeps_names_from_becoming_markup(text, kind, cell):
    page = Page("t", (Table((Column("x", kind),), ((text,),)),))
    assert render_markdown(page).splitlines()[-1] == f"| {cell} |"


class Collector(HTMLParser):
    """Which tags there are, whether they close in order, and the text between them."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(html):
    collector = Collector()
    collector.feed(html)
    collector.close()
    assert collector.open == []
    return collector


def test_html_is_one_page_which_needs_nothing_else():
    page = parsed(render_html(PAGE))
    assert page.tags.count("table") == 1
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(page.tags)
    assert {"src", "href", "onclick", "style"}.isdisjoint(name for name, _ in page.attributes)
    assert {"title", "good news", "heading", "a.weight", "12"} <= set(page.text)


def test_html_is_ascii_whatever_a_name_holds():
    html = render_html(Page("Gewicht\u00fc", (Line("\u6743\u91cd"),)))
    assert html.isascii()
    assert "\u6743\u91cd" in parsed(html).text


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_no_name_becomes_a_tag(name):
    page = Page(name, (Line(name), Section(name), Table((Column(name, "code"),), ((name,),))))
    tags = parsed(render_html(page)).tags
    assert tags == parsed(render_html(Page("x", (Line("x"), Section("x"), Table((Column("x", "code"),), (("x",),)))))).tags


EVIL = 'a"><script>alert(1)</script>\n\x1b[2J|`\u202e\x00'


@pytest.mark.parametrize("form", FORMS)
def test_a_hostile_name_is_harmless_in_every_form(form):
    report = HeaderReport(Header({EVIL: TensorSpec.of("float32", 1)}), EVIL)
    shown = render(report, form, color=True)
    assert "\x1b[2J" not in shown
    assert "\x00" not in shown
    assert "\u202e" not in shown
    if form == "html":
        assert "<script" not in shown
    if form == "json":
        assert json.loads(shown)["entries"][0]["key"] == EVIL


def test_json_survives_names_which_are_no_unicode():
    name = "a\ud800"
    document = json.loads(render(HeaderReport(Header({name: TensorSpec.of("float32", 1)}), "x"), "json"))
    assert document["entries"][0]["key"] == name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("report", [HeaderReport(HEADER, "a.pth"), DiffReport(MIXED, "a", "b")], ids=["header", "diff"])
def test_every_form_ends_in_one_newline_and_is_the_same_twice(report, form):
    shown = render(report, form)
    assert shown.endswith("\n")
    assert not shown.endswith("\n\n")
    assert shown == render(report, form)
