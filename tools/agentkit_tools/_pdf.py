"""The text of a PDF. Runs in the reader's process only: a file made to take long ends with it."""

import io
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pypdf

PAGES = 200
"""Most pages that are read; the rest is left out, and said to be."""

_SECONDS = 5.0  # a page more is begun after them never: what is read by then is worth having
_JUNK_BEFORE_HEADER = 1024  # as readers of PDF have it


class UnreadablePdfError(Exception):
    """The bytes are no PDF that can be read; says why in a sentence."""


def pdf_text(body: bytes, most_chars: int) -> tuple[str, str]:
    """Return the text, a blank line between pages, and which pages were read, in words.

    Raises:
        UnreadablePdfError: damaged, encrypted, or no PDF at all.
        ModuleNotFoundError: pypdf is not installed.
    """
    if b"%PDF-" not in body[:_JUNK_BEFORE_HEADER]:
        raise UnreadablePdfError("It is named a PDF and is none.")
    import pypdf

    try:
        reader = pypdf.PdfReader(io.BytesIO(body))
        return _read(reader, most_chars)
    except (UnreadablePdfError, MemoryError):
        raise
    # Damaged files raise whatever is left to raise: KeyError, TypeError, RecursionError, ...
    except Exception as error:
        raise UnreadablePdfError(f"The PDF is damaged: {str(error)[:200]}") from error


def _read(reader: "pypdf.PdfReader", most_chars: int) -> tuple[str, str]:
    if reader.is_encrypted and not reader.decrypt(""):
        raise UnreadablePdfError("The PDF is encrypted.")
    total = len(reader.pages)
    began, texts, chars = time.monotonic(), list[str](), 0
    for page in reader.pages:
        if len(texts) >= PAGES or chars > most_chars or time.monotonic() - began > _SECONDS:
            break
        text = page.extract_text().strip()
        chars += len(text)
        texts.append(text)
    read = f"pages 1 to {len(texts)} of {total}" if len(texts) < total else f"{total} pages"
    return "\n\n".join(filter(None, texts)), read
