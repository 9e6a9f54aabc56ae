"""What an answer copied wrong: figures that nothing given to the model has, results it leaves out."""

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction

# A number, a time, a date, or a code of letters and digits; "H2O" and "B12" are words.
_FIGURE = re.compile(
    r"(?<![\w.,])(?:[-\u2212]?\d\w*(?:[.,:/-]\d\w*)*|(?=[a-z]*\d)[a-z0-9]{8,})", re.IGNORECASE
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_DIGIT = re.compile(r"-?\d")  # may stand for something else, such as a day of the week
_WORDS = re.compile(r"\w+")
_VERDICTS = {"true", "false", "none"}  # told as yes and no
_SHORT = 40
_MOST_DIGITS = 1000  # longer numbers are compared as words; Python refuses to read 4,300 digits
_LONG = 6  # a code may be cut to its beginning, if that is this long
_LIST_MARK = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)
_HALF_OF_DAY = re.compile(r"\s*([ap])\.?m\b", re.IGNORECASE)
_GROUPED = re.compile(r"-?\d{1,3}(?:[,_]\d{3})+(?:\.\d+)?")
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_HOUR = re.compile(r"\d{1,2}")
_PARTS = re.compile(r"[/:-]")


def strange_figures(answer: str, given: str) -> tuple[str, ...]:
    """Return the figures of `answer` that `given` does not have, each once.

    A figure may be written another way: rounded, grouped, without zeros, as am or pm, and a date
    may be taken apart. Numbers in words are not looked at.

    >>> strange_figures("It is 10:09 in Rome.", "Monday 2026-11-02 09:09:50 in Rome")
    ('10:09',)
    >>> strange_figures("It is 9:09 am on 2 November, 12,345.7 in all.", "2026-11-02 09:09:50 12345.678")
    ()
    """
    known = _Known(given)
    text = _LIST_MARK.sub("", answer)
    strange = (shown for shown, half in _figures(text) if not known.has(shown, half))
    return tuple(dict.fromkeys(strange))


def states(answer: str, result: str) -> bool:
    """Tell whether an answer has a result that is one number or a few words.

    Longer results may be told in part, and dates in many ways: those count as told. Words must
    stand in the order of the result, with others between them or not.

    >>> states("It is 41,055.", "41055.0"), states("It is 41.", "41055.0")
    (True, False)
    >>> states("It reads 'olleh'.", "olleh"), states("It reads 'ollhe'.", "olleh")
    (True, False)
    """
    result = result.strip()
    if _DIGIT.fullmatch(result):
        return True
    if _NUMBER.fullmatch(result):
        return any(not strange_figures(figure, result) for figure, _ in _figures(answer))
    if len(result) > _SHORT or "\n" in result or any(map(str.isdigit, result)):
        return True
    words = [word for word in _WORDS.findall(result.casefold()) if word not in _VERDICTS]
    said = iter(_WORDS.findall(answer.casefold()))
    return all(word in said for word in words)  # in this order: it is an iterator


def _figures(text: str) -> Iterator[tuple[str, str]]:
    """Yield each figure as it stands, and "a" or "p" where am or pm follows."""
    for match in _FIGURE.finditer(text):
        half = _HALF_OF_DAY.match(text, match.end())
        yield match[0], half[1].lower() if half else ""


class _Known:
    """The figures of what was given, in each way of writing them."""

    def __init__(self, given: str) -> None:
        found = list(_figures(given))
        self.words = {_bare(shown) for shown, _ in found}
        self.words |= {part for word in self.words for part in _parts(word)}
        self.numbers = [number for word in self.words for number in _number(word)]
        self.moments = {moment for shown, half in found for moment in _moments(shown, half)}
        self.moments |= {moment.split(":")[0] for moment in self.moments}  # for "8 pm"

    def has(self, shown: str, half: str) -> bool:
        """Tell whether this figure was given."""
        word = _bare(shown)
        if moments := list(_moments(shown, half)):
            return not self.moments.isdisjoint(moments)
        if word in self.words or any(map(self._rounds_to, _number(word))):
            return True
        if _is_code(word) and any(known.startswith(word) for known in self.words):
            return True
        parts = _parts(word)
        return len(parts) > 1 and all(self.has(part, "") for part in parts)

    def _rounds_to(self, number: str) -> bool:
        half = Fraction(1, 2 * 10 ** len(number.partition(".")[2]))  # exact: 2^100 is no float
        value = abs(Fraction(number))
        return any(abs(abs(Fraction(known)) - value) <= half for known in self.numbers)


def _is_code(word: str) -> bool:
    return len(word) >= _LONG and any(map(str.isalpha, word))


def _bare(figure: str) -> str:
    figure = figure.replace("\u2212", "-").lower()
    return re.sub("[,_]", "", figure) if _GROUPED.fullmatch(figure) else figure


def _parts(word: str) -> list[str]:
    return [part.lstrip("0") or "0" for part in _PARTS.split(word) if part]


def _number(word: str) -> Iterator[str]:
    """Yield the number that a word is, perhaps with letters behind it: "12th", "47.80eur"."""
    if len(word) <= _MOST_DIGITS and (match := re.fullmatch(r"(-?\d+(?:\.\d+)?)[a-z]*", word)):
        yield match[1]


def _moments(shown: str, half: str) -> Iterable[str]:
    """Yield a time of day with its seconds, and without; of "8 pm" the hour."""
    match = _TIME.fullmatch(shown) or (_HOUR.fullmatch(shown) if half else None)
    if match is None:
        return
    hour, *rest = match[0].split(":")
    hour = str(int(hour) % 12 + 12 * (half == "p")) if half else hour.lstrip("0") or "0"
    yield ":".join([hour, *rest])
    if len(rest) > 1:
        yield f"{hour}:{rest[0]}"
