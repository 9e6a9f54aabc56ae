"""Documents as text: read in a process that is killed when it takes long, and never stays."""

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from agentkit.errors import ToolError
from agentkit_tools import _convert, _hidden, _http, _pdf, _text
from agentkit_tools.fetch import make_fetch

PAGE = b"<h1>Kites</h1><p>They <b>fly</b><p hidden>low"


def children() -> list[str]:
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    for task in Path("/proc/self/task").iterdir():
        try:
            found += (task / "children").read_text(encoding="ascii").split()
        except OSError:
            continue
    return found


@pytest.fixture
def read_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program in the place of the reader."""

    def replace(program: str) -> None:
        reader = tmp_path / "reader.py"
        reader.write_text(program, encoding="utf-8")
        monkeypatch.setattr(_convert, "READER", reader)

    return replace


@pytest.fixture
def stuck(tmp_path: Path, read_by: Callable[[str], None]) -> Path:
    """A reader that says it is there, and then hangs whatever it is told but SIGKILL."""
    begun = tmp_path / "begun"  # a pipe: who reads it waits until the reader is there
    os.mkfifo(begun)
    read_by(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(begun)!r}, 'w').close()\n"
        "while True: time.sleep(60)\n"
    )
    return begun


async def test_a_page_is_converted_in_another_process() -> None:
    converted = await _convert.convert(PAGE, "text/html")
    assert converted.text == "# Kites\n\nThey **fly**"
    assert not children()


async def test_a_page_that_defeats_the_converter_gives_its_words_and_no_process_stays(
    stuck: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_convert, "SECONDS", 0.5)
    converted = await _convert.convert(PAGE, "text/html")
    assert converted.text == "Kites\nThey\nfly"
    assert "words only" in converted.note
    assert not children()


async def test_a_cancelled_conversion_leaves_no_process(stuck: Path) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_convert.convert, PAGE, "text/html")
        await to_thread.run_sync(stuck.read_bytes)
        assert children()
        tasks.cancel_scope.cancel()
    assert not children()


async def test_a_conversion_cancelled_before_its_process_is_there_starts_none() -> None:
    job = _convert._Job(PAGE, "text/html")
    job.kill()
    with pytest.raises(OSError, match="not wanted"):
        await to_thread.run_sync(job.run)
    assert job.over.is_set()
    assert not children()


@pytest.mark.parametrize("answer", ["", "no line", "[]\\n", "nonsense\\ntext"])
async def test_a_reader_that_answers_nonsense_is_not_believed(
    read_by: Callable[[str], None], answer: str
) -> None:
    read_by(f"print('{answer}', end='')")
    assert (await _convert.convert(PAGE, "text/html")).text == "Kites\nThey\nfly"


async def test_a_reader_that_never_stops_writing_is_cut_off(
    read_by: Callable[[str], None],
) -> None:
    read_by("while True: print('{}' + 'x' * 10000)")
    assert (await _convert.convert(PAGE, "text/html")).text == "Kites\nThey\nfly"
    assert not children()


async def test_a_reader_that_crashes_costs_the_markup_only(
    read_by: Callable[[str], None],
) -> None:
    read_by("import os; os.abort()")
    assert (await _convert.convert(PAGE, "text/html")).text == "Kites\nThey\nfly"


async def test_a_python_that_cannot_be_started_costs_the_markup_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert (await _convert.convert(PAGE, "text/html")).text == "Kites\nThey\nfly"


async def test_the_reader_has_limits_and_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = tmp_path / "agentkit_tools" / "_reader.py"
    reader.parent.mkdir()
    source = _convert.READER.read_text(encoding="utf-8")
    spy = "import os\n    said, text = {}, f'{resource.getrlimit(resource.RLIMIT_AS)} {os.environ}'"
    source = source.replace("    limit()\n", "    limit()\n    import resource\n")
    source = source.replace(
        '    said, text = read(sys.stdin.buffer.read(), head["type"])', f"    {spy}"
    )
    reader.write_text(source, encoding="utf-8")
    monkeypatch.setattr(_convert, "READER", reader)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    text = (await _convert.convert(PAGE, "text/html")).text
    assert text.startswith(f"({1 << 30}, {1 << 30})")
    assert "secret" not in text


def a_pdf(*texts: str) -> bytes:
    """Return a PDF with a page for each text."""
    import pypdf
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    font = DictionaryObject()
    font.update(
        {
            NameObject(f"/{key}"): NameObject(f"/{value}")
            for key, value in (("Type", "Font"), ("Subtype", "Type1"), ("BaseFont", "Helvetica"))
        }
    )
    for text in texts:
        page = writer.add_blank_page(200, 200)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode())
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        page[NameObject("/Contents")] = writer._add_object(stream)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


async def test_a_pdf_gives_the_text_of_its_pages() -> None:
    pytest.importorskip("pypdf")
    converted = await _convert.convert(a_pdf("Kites fly", "They land"), "application/pdf")
    assert converted == _convert.Converted("Kites fly\n\nThey land", "2 pages")


async def test_a_long_pdf_is_read_in_part_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pypdf")
    body = await to_thread.run_sync(lambda: a_pdf(*["page"] * (_pdf.PAGES + 1)))
    converted = await _convert.convert(body, "application/pdf")
    assert converted.note == f"pages 1 to {_pdf.PAGES} of {_pdf.PAGES + 1}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (os.urandom(1000), "is none"),
        (b"", "is none"),
        (b"%PDF-1.7" + os.urandom(1000), "damaged"),
        (b"%PDF-1.7" * 1000, "damaged"),
    ],
    ids=["noise", "empty", "noise with a header", "headers only"],
)
async def test_what_is_no_pdf_is_told(body: bytes, expected: str) -> None:
    pytest.importorskip("pypdf")
    with pytest.raises(ToolError, match=expected):
        await _convert.convert(body, "application/pdf")


async def test_an_encrypted_pdf_is_told() -> None:
    pypdf = pytest.importorskip("pypdf")
    writer: Any = pypdf.PdfWriter(io.BytesIO(a_pdf("secret")))
    writer.encrypt("password", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    with pytest.raises(ToolError, match="encrypted"):
        await _convert.convert(file.getvalue(), "application/pdf")


async def test_a_pdf_that_takes_long_is_told_and_killed(
    stuck: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_convert, "SECONDS", 0.5)
    with pytest.raises(ToolError, match="takes too long"):
        await _convert.convert(b"%PDF-1.7", "application/pdf")
    assert not children()


async def test_without_the_extra_a_pdf_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pypdf.py").write_text("raise ModuleNotFoundError('pypdf')", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ToolError, match="not installed") as caught:
        await _convert.convert(b"%PDF-1.7", "application/pdf")
    assert "qwen-agentkit[pdf]" in caught.value.hint


async def test_a_page_that_takes_long_to_convert_ends_with_the_fetch(
    site: Any, stuck: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "TOTAL_SECONDS", 0.5)
    tool = make_fetch(["127.0.0.1"])
    with pytest.raises(ToolError, match="took longer"):
        await tool.call(tool.validate({"url": site.url}))
    assert not children()
    assert threading.active_count() < 50


@pytest.mark.timeout(15)  # a minute and more each, if it took time that grows with the square
@pytest.mark.parametrize(
    "page", ["<title" * 200_000, "<a href='" * 100_000, "<script>" * 100_000, "<!--" * 200_000]
)
def test_a_page_of_tags_that_never_end_is_read_in_time(page: str) -> None:
    _text.to_text(page.encode(), "text/html")


@pytest.mark.timeout(15)
@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "utf-7", "rot13", "hex"])
def test_a_charset_in_which_no_page_is_written_is_read_as_utf_8(charset: str) -> None:
    body = "a" * 1_000_000
    assert _text.to_text(body.encode(), f"text/plain; charset={charset}") == body
    assert _text.to_text("+AGE- ü \\n".encode(), f"text/plain; charset={charset}") == "+AGE- ü \\n"


def test_a_title_is_the_heading_of_a_page_that_has_none() -> None:
    page = b"<head><title lang=en>Kites &amp;\n wind</title></head><p>words"
    assert _text.to_text(page, "text/html") == "# Kites & wind\n\nwords"


def test_a_page_of_scripts_gives_its_few_words_only() -> None:
    page = "<script>if (a<b) evil()</script><STYLE>p{}</STYLE>" * 100 + "<nav>few &lt; words</nav>"
    assert _text._plain(page) == "few < words"


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("a<p hidden>x<p>b", "a<p>b"),
        ("<ul><li hidden>x<li>b</ul>c", "<ul><li>b</ul>c"),
        ("<table><tr hidden><td>x<tr><td>b</table>", "<table><tr><td>b</table>"),
        ("<div><span hidden>x</div>b", "<div></div>b"),
        ("<div><table hidden><tr><td></div>x</table>b</div>", "<div>b</div>"),
        ("<div hidden><div>x</div>x</div>b", "b"),
        ("<svg hidden/>b", "b"),
        ("<div hidden/>x</div>b", "b"),
        ("<p title='<p hidden>'>b", "<p title='<p hidden>'>b"),
        ('<p a"b>b', '<p a"b>b'),
        ('<p title="a>b" hidden>x</p>b', "b"),
        ("<!--> b <!-- x --> c", " b  c"),
        ("<p hidden=until-found>b", "<p hidden=until-found>b"),
        (
            "<p aria-hidden=false style='color:#fff;background:#000'>b",
            "<p aria-hidden=false style='color:#fff;background:#000'>b",
        ),
        (
            "<p style='opacity:0.5;left:-20px;font-size:0.8em'>b",
            "<p style='opacity:0.5;left:-20px;font-size:0.8em'>b",
        ),
        ("<body style='visibility:hidden'>b", "<body>b"),
        ("<dialog open>b</dialog>", "<dialog open>b</dialog>"),
        ("<title hidden>x</title>1 < 2", "1 < 2"),
        ("<script>'<p hidden>'</script>b", "b"),
    ],
)
def test_what_a_browser_does_not_show_is_taken_out(page: str, expected: str) -> None:
    assert _hidden.visible(page) == expected


@pytest.mark.timeout(20)  # minutes each, if it took time that grows with the square
@pytest.mark.parametrize(
    "page",
    [
        "<div>" * 200_000 + "</x>" * 200_000,
        "<td>" * 200_000 + "</div>" * 200_000,
        "<div hidden>" * 200_000,
        "<b ='" * 400_000,
        "<a style='" + "/*" * 1_000_000 + "'>",
        "<p style='" + ";" * 2_000_000 + "'>",
        "<" * 2_000_000,
        "<a " + "b=c " * 500_000 + ">",
    ],
    ids=lambda page: page[:12],
)
def test_a_page_made_to_take_long_is_searched_in_time(page: str) -> None:
    assert len(_hidden.visible(page)) <= len(page)
