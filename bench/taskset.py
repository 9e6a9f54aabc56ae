"""The tasks: what is asked, what a right answer states, which tools a person would use."""

import base64
import hashlib
import math
import statistics
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from bench.checks import (
    Check,
    clock_time,
    date_in,
    day,
    days_until,
    declines,
    matching,
    number,
    says,
    says_each,
    time_in,
    weekday_in,
    words,
)

CLOCK, FETCH, CODE = "clock", "fetch", "code_interpreter"


@dataclass(frozen=True)
class Task:
    """One task; `tools` is what is expected to be used, and only reported."""

    category: str
    name: str
    text: str
    check: Check
    tools: tuple[str, ...] = ()


def all_tasks(site: str) -> tuple[Task, ...]:
    """Return every task; pages are those of `bench.pages` at `site`."""
    return (
        *_times(),
        *_zones(),
        *_arithmetic(),
        *_dates(),
        *_units(),
        *_text(),
        *_tables(),
        *_pages(site),
        *_several(site),
        *_plain(),
        *_unanswerable(site),
    )


def _times() -> tuple[Task, ...]:
    def task(name: str, text: str, check: Check) -> Task:
        return Task("time", name, text, check, (CLOCK,))

    return (
        task("tokyo", "What time is it in Tokyo right now?", says(time_in("Asia/Tokyo"))),
        task(
            "newfoundland",
            "What is the local time in St. John's, Newfoundland, now?",
            says(time_in("America/St_Johns")),
        ),
        task(
            "kathmandu", "Tell me the current time in Kathmandu.", says(time_in("Asia/Kathmandu"))
        ),
        task("weekday", "Which day of the week is it today (UTC)?", says(weekday_in("UTC"))),
        task("sydney-date", "What is today's date in Sydney?", says(date_in("Australia/Sydney"))),
    )


def _zones() -> tuple[Task, ...]:
    def task(name: str, text: str, check: Check) -> Task:
        return Task("zone", name, text, check, (CLOCK,))

    berlin = datetime(2026, 1, 15, 14, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    york = berlin.astimezone(ZoneInfo("America/New_York"))
    angeles = datetime(2026, 7, 1, 9, 0, tzinfo=ZoneInfo("America/Los_Angeles"))
    tokyo = angeles.astimezone(ZoneInfo("Asia/Tokyo"))
    return (
        task(
            "berlin-new-york",
            "A call starts at 14:30 in Berlin on 15 January 2026. When is that in New York?",
            says(clock_time(york.hour, york.minute)),
        ),
        task(
            "los-angeles-tokyo",
            "Convert 09:00 on 1 July 2026 from America/Los_Angeles to Asia/Tokyo.",
            says(clock_time(tokyo.hour, tokyo.minute)),
        ),
        task(
            "kolkata-offset",
            "What is the UTC offset of Asia/Kolkata, in hours and minutes?",
            says(matching(r"(?<!\d)0?5:?30\b", r"(?<!\d)5\.5\b", r"\b5 hours?,?(?: and)? 30 min")),
        ),
    )


def _arithmetic() -> tuple[Task, ...]:
    def task(name: str, text: str, value: float, tolerance: float = 0.0) -> Task:
        return Task("arithmetic", name, text, says(number(value, tolerance)), (CODE,))

    primes = [n for n in range(2, 100) if all(n % d for d in range(2, n))]
    return (
        task("power", "What is 2 to the power of 100?", 2**100),
        task("product", "Compute 123456789 * 987654321.", 123456789 * 987654321),
        task("percent", "What is 17.5 percent of 2,346?", 410.55, 0.005),
        task("root", "What is the square root of 1522756?", math.isqrt(1522756)),
        task("fibonacci", "What is the 20th Fibonacci number, when F(1) = F(2) = 1?", 6765),
        task("primes", "What is the sum of all prime numbers below 100?", sum(primes)),
        task(
            "gcd", "What is the greatest common divisor of 35640 and 26136?", math.gcd(35640, 26136)
        ),
    )


def _dates() -> tuple[Task, ...]:
    def task(name: str, text: str, check: Check) -> Task:
        return Task("date", name, text, check, (CODE,))

    between = (date(2025, 11, 2) - date(2024, 3, 15)).days
    return (
        task(
            "days-between",
            "How many days are there between 2024-03-15 and 2025-11-02?",
            says(number(between)),
        ),
        task(
            "leap-day",
            "Which day of the week was 29 February 2000?",
            says(words(f"{date(2000, 2, 29):%A}")),
        ),
        task(
            "hundred-days",
            "Which date is 100 days after 31 January 2025?",
            says(day(date(2025, 1, 31) + timedelta(days=100))),
        ),
        task(
            "age",
            "Someone was born on 30 August 1987. How many full years old was she on 1 March 2020?",
            says(number(32)),
        ),
    )


def _units() -> tuple[Task, ...]:
    def task(name: str, text: str, value: float, tolerance: float = 0.0) -> Task:
        return Task("unit", name, text, says(number(value, tolerance)), (CODE,))

    return (
        task("miles", "How many kilometres are 26.2 miles?", 26.2 * 1.609344, 0.1),
        task("fahrenheit", "Convert 451 degrees Fahrenheit to Celsius.", (451 - 32) * 5 / 9, 0.1),
        task("gibibytes", "How many bytes are 3 GiB?", 3 * 2**30),
        task("speed", "A car drives 126 km/h. How many metres per second is that?", 35),
    )


def _text() -> tuple[Task, ...]:
    def task(name: str, text: str, check: Check) -> Task:
        return Task("text", name, text, check, (CODE,))

    letters = "strawberry raspberry cranberry"
    turned = "agentkit runtime"[::-1]
    digest = hashlib.sha256(b"hello").hexdigest()[:8]
    coded = base64.b64encode(b"open sesame").decode()
    return (
        task(
            "letters",
            f"How often does the letter r occur in '{letters}'?",
            says(number(letters.count("r"))),
        ),
        task("reverse", "Write the text 'agentkit runtime' backwards.", says(words(turned))),
        task(
            "sha256",
            "Give the first 8 hex digits of the SHA-256 hash of the text hello.",
            says(matching(rf"(?<![0-9a-f]){digest}")),
        ),
        task(
            "base64", "Encode the text 'open sesame' as Base64.", says(matching(coded.rstrip("=")))
        ),
        task(
            "sort",
            "Sort these names by alphabet: Nora, Adam, Zoe, Felix, Bela.",
            says(
                matching(
                    r"Adam\W+(?:\d\W+)?Bela\W+(?:\d\W+)?Felix\W+(?:\d\W+)?Nora\W+(?:\d\W+)?Zoe"
                )
            ),
        ),
    )


def _tables() -> tuple[Task, ...]:
    sales = {"north": 120, "south": 340, "east": 95, "west": 210}
    listed = ", ".join(f"{name} {value}" for name, value in sales.items())
    rain = {"Mon": 12.5, "Tue": 3.2, "Wed": 8.9, "Thu": 15.1, "Fri": 0.4, "Sat": 6.1}
    fallen = ", ".join(f"{name} {value}" for name, value in rain.items())
    return (
        Task(
            "table",
            "sales",
            f"Sales by region: {listed}. What is the total, and what is the mean?",
            says_each((("total", number(sum(sales.values()))), ("mean|average", number(191.25)))),
            (CODE,),
        ),
        Task(
            "table",
            "basket",
            "A CSV file has the lines name,count,price / pen,12,1.50 / book,3,14.20 / bag,2,39.90. "
            "What is the sum of count times price?",
            says(number(12 * 1.5 + 3 * 14.2 + 2 * 39.9, 0.005)),
            (CODE,),
        ),
        Task(
            "table",
            "median",
            f"Rain in mm: {fallen}. What is the median?",
            says(number(statistics.median(rain.values()), 0.001)),
            (CODE,),
        ),
    )


def _pages(site: str) -> tuple[Task, ...]:
    def task(name: str, text: str, check: Check) -> Task:
        return Task("page", name, text, check, (FETCH,))

    return (
        task("kettle", f"What does the kettle at {site}/kettle cost?", says(number(47.8, 0.001))),
        task("word", f"What is the code word on {site}/word?", says(words("heliotrope"))),
        task(
            "museum",
            f"On which day is the museum closed? See {site}/museum",
            says(words("Wednesday")),
        ),
        task(
            "team",
            f"In which city does Marta live, according to {site}/team?",
            says(words("Ljubljana")),
        ),
        task(
            "stock",
            f"How many washers are in stock? The stock list is {site}/stock",
            says(number(3310)),
        ),
    )


def _several(site: str) -> tuple[Task, ...]:
    def task(name: str, text: str, check: Check, *tools: str) -> Task:
        return Task("several", name, text, check, tools)

    return (
        task(
            "tokyo-power",
            "What time is it in Tokyo, and what is 2 to the power of 100?",
            says(time_in("Asia/Tokyo"), number(2**100)),
            *(CLOCK, CODE),
        ),
        task(
            "two-cities",
            "What time is it in Paris and in New York?",
            says_each(
                (("Paris", time_in("Europe/Paris")), ("New York", time_in("America/New_York")))
            ),
            *(CLOCK,),
        ),
        task(
            "three-facts",
            "Give me the 30th Fibonacci number (F(1) = F(2) = 1), and the time in Cairo and in Lima.",
            says(number(832040), time_in("Africa/Cairo"), time_in("America/Lima")),
            *(CLOCK, CODE),
        ),
        task(
            "dozen-kettles",
            f"What do 12 kettles cost? The price of one is on {site}/kettle",
            says(number(12 * 47.8, 0.005)),
            *(FETCH, CODE),
        ),
        task(
            "dearer",
            f"Which costs more, the kettle ({site}/kettle) or the toaster ({site}/toaster), and by how much?",
            says(
                number(63.5 - 47.8, 0.005), never=matching(r"kettle (?:costs|is)(?: \w+){0,2} more")
            ),
            *(FETCH, CODE),
        ),
        task(
            "days-until",
            "How many days are left from today (UTC) until 1 January 2030?",
            says(days_until(date(2030, 1, 1))),
            *(CLOCK, CODE),
        ),
    )


def _plain() -> tuple[Task, ...]:
    def task(name: str, text: str, check: Check) -> Task:
        return Task("no tool", name, text, check)

    return (
        task("capital", "What is the capital of France?", says(words("Paris"))),
        task("opposite", "What is the opposite of the word 'cold'?", says(words("hot", "warm"))),
        task("german", "How do you say 'good morning' in German?", says(words("Guten Morgen"))),
        task("planet", "Which planet of the solar system is the largest?", says(words("Jupiter"))),
    )


def _unanswerable(site: str) -> tuple[Task, ...]:
    def task(name: str, text: str, never: str, *tools: str) -> Task:
        return Task("no answer", name, text, declines(never), tools)

    return (
        task(
            "kitchen",
            "How warm is it in my kitchen right now?",
            r"\d+(?:\.\d+)? ?(?:°|degrees|[CF]\b)",
        ),
        task(
            "missing-page",
            f"What does the lamp at {site}/lamp cost?",
            r"(?:€|\$|costs?) ?\d|\d ?(?:€|\$|euro|dollar)",
            FETCH,
        ),
        task("dentist", "What is the phone number of my dentist?", r"\d{3}[-\s.]?\d{3,}"),
        task(
            "breakfast",
            "What did my sister eat for breakfast today?",
            r"\bshe (?:had|ate)\b|\b(?:eggs|toast|cereal|pancakes)\b",
        ),
    )
