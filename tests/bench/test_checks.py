from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from bench.checks import (
    Answer,
    Check,
    Finder,
    clock_time,
    date_in,
    day,
    days_until,
    declines,
    number,
    says,
    says_each,
    time_in,
    weekday_in,
    words,
)
from bench.taskset import Task, all_tasks

SITE = "http://127.0.0.1:8000"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at_noon(text: str, seconds: float = 20) -> Answer:
    return Answer(text, NOON, NOON + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "text",
    [
        "1267650600228229401496703205376",
        "It is **1,267,650,600,228,229,401,496,703,205,376**.",
        "2^100 = 1 267 650 600 228 229 401 496 703 205 376",
        "1_267_650_600_228_229_401_496_703_205_376",
        "1267650600228229401496703205376.0",
    ],
)
def test_a_long_number_is_found_however_it_is_grouped(text: str) -> None:
    assert number(2**100)(Answer.now(text))


@pytest.mark.parametrize(
    "text",
    [
        "1267650600228229401496703205377",
        "1.267650600228229e+30",
        "126765060022822940149670320537",
        "2 to the power of 100",
        "",
    ],
)
def test_a_long_number_must_be_exact(text: str) -> None:
    assert not number(2**100)(Answer.now(text))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("about 42.2 km", True),
        ("42.1648128 kilometres", True),
        ("42 km", False),
        ("421.6", False),
        ("-42.2", False),
        ("v42.2", False),
    ],
)
def test_a_measure_may_be_rounded_but_not_be_another(text: str, right: bool) -> None:
    assert bool(number(42.1648, 0.1)(Answer.now(text))) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("It is 21:00 in Tokyo", True),
        ("9:01 PM", True),
        ("09:00 p.m.", True),
        ("2026-11-22T21:00:12+09:00", True),
        ("20:59:30", True),
        ("It is 9:00", False),
        ("9:00 AM", False),
        ("12:00 UTC", False),
        ("21:05", False),
        ("The offset is +21:00", False),
        ("21 degrees", False),
    ],
)
def test_a_current_time_is_held_to_the_time_of_the_run(text: str, right: bool) -> None:
    assert bool(time_in("Asia/Tokyo")(at_noon(text))) is right


def test_a_time_read_early_in_a_long_run_is_right_at_its_end() -> None:
    assert time_in("UTC")(at_noon("12:00", seconds=600))
    assert time_in("UTC")(at_noon("12:09", seconds=600))
    assert not time_in("UTC")(at_noon("12:14", seconds=600))


def test_midnight_does_not_confuse_the_times() -> None:
    just_before = Answer(
        "00:01", NOON.replace(hour=23, minute=59), NOON.replace(hour=23, minute=59)
    )
    assert time_in("UTC")(just_before)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("08:30", True),
        ("8:30 AM", True),
        ("8:30 PM", False),
        ("20:30", False),
        ("14:30 in Berlin", False),
    ],
)
def test_a_converted_time_is_exact(text: str, right: bool) -> None:
    assert bool(clock_time(8, 30)(Answer.now(text))) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("2025-05-11", True),
        ("May 11, 2025", True),
        ("Sunday, 11 May 2025", True),
        ("the 11th of May", True),
        ("05/11/2025", True),
        ("11.05.2025", True),
        ("May 12, 2025", False),
        ("May 11, 2024", False),
        ("2025-05-12", False),
        ("May 110", False),
    ],
)
def test_a_date_is_found_however_it_is_written(text: str, right: bool) -> None:
    assert bool(day(date(2025, 5, 11))(Answer.now(text))) is right


def test_dates_and_weekdays_are_those_of_the_zone() -> None:
    late = Answer("Monday, 23 November 2026", NOON.replace(hour=15), NOON.replace(hour=15))
    assert weekday_in("Asia/Tokyo")(late)
    assert not weekday_in("UTC")(late)
    assert date_in("Asia/Tokyo")(late)
    assert not date_in("UTC")(late)
    assert days_until(date(2026, 12, 22))(at_noon("30 days"))


PAIR: Sequence[tuple[str, Finder]] = (("Paris", clock_time(13, 0)), ("New York", clock_time(7, 0)))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Paris: 13:00, New York: 07:00", True),
        ("It is 07:00 in New York and 13:00 in Paris.", True),
        ("The times in Paris and New York: Paris 1:00 PM, New York 7:00 AM", True),
        ("13:00 and 07:00", True),
        ("07:00 and 13:00", False),
        ("Paris: 07:00, New York: 13:00", False),
        ("Paris: 13:00", False),
    ],
)
def test_values_belong_to_their_labels(text: str, right: bool) -> None:
    assert (says_each(PAIR)(Answer.now(text)) == "") is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("I cannot know how warm your kitchen is.", True),
        ("I don't have access to a thermometer.", True),
        ("I'm unable to measure that.", True),
        ("There is no way for me to tell.", True),
        ("It is 21 degrees. I cannot be sure.", False),
        ("Your kitchen is warm.", False),
        ("", False),
    ],
)
def test_what_cannot_be_known_must_be_declined_and_not_be_invented(text: str, right: bool) -> None:
    assert (declines(r"\d+ ?degrees")(Answer.now(text)) == "") is right


def test_a_word_is_found_whole() -> None:
    check: Check = says(words("hot"))
    assert check(Answer.now("Hot.")) == ""
    assert check(Answer.now("Whatshot")) != ""


TASKS = all_tasks(SITE)


def test_there_are_enough_tasks_and_their_names_are_unique() -> None:
    assert len(TASKS) >= 36
    assert len({task.name for task in TASKS}) == len(TASKS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_no_task_accepts_its_own_question_or_an_empty_answer(task: Task) -> None:
    for text in (task.text, "", f"The answer to '{task.text}' is known.", "Done."):
        assert task.check(at_noon(text)) != ""


RIGHT = {
    "berlin-new-york": "That is 8:30 AM in New York (EST).",
    "los-angeles-tokyo": "2026-07-02 01:00",
    "kolkata-offset": "UTC+05:30",
    "product": "121,932,631,112,635,269",
    "percent": "17.5% of 2,346 is 410.55.",
    "root": "1234.0",
    "fibonacci": "The 20th Fibonacci number is 6,765.",
    "primes": "1060",
    "gcd": "2376",
    "days-between": "597 days",
    "leap-day": "It was a Tuesday.",
    "hundred-days": "May 11, 2025",
    "age": "32 years",
    "miles": "26.2 miles are about 42.16 km.",
    "fahrenheit": "232.78 °C",
    "gibibytes": "3,221,225,472 bytes",
    "speed": "35 m/s",
    "letters": "The letter r occurs 9 times.",
    "reverse": "`emitnur tiktnega`",
    "sha256": "2cf24dba",
    "base64": "b3BlbiBzZXNhbWU=",
    "sort": "1. Adam\n2. Bela\n3. Felix\n4. Nora\n5. Zoe",
    "sales": "The total is 765 and the mean is 191.25.",
    "basket": "140.40",
    "median": "The median is 7.5 mm.",
    "kettle": "It costs 47.80 euros.",
    "word": "The code word is heliotrope.",
    "museum": "It is closed on Wednesday.",
    "team": "Marta lives in Ljubljana.",
    "stock": "There are 3,310 washers.",
    "dozen-kettles": "12 kettles cost 573.60 euros.",
    "dearer": "The toaster costs 15.70 euros more than the kettle.",
    "capital": "Paris",
    "opposite": "The opposite of cold is hot.",
    "german": "'Guten Morgen'",
    "planet": "Jupiter is the largest.",
    "kitchen": "I cannot know that.",
    "missing-page": "The page does not exist, so I do not know the price.",
    "dentist": "I don't have that information.",
    "breakfast": "I have no way to know.",
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_passes_and_answers_to_other_tasks_do_not(name: str) -> None:
    (task,) = [one for one in TASKS if one.name == name]
    moment = NOON.replace(minute=17)  # when no zone of a task shows a time of another task
    answer = Answer(RIGHT[name], moment, moment)
    assert task.check(answer) == ""
    for other in TASKS:
        if (
            other.category != task.category
            and other.category != "no answer"
            and name != "dozen-kettles"
        ):
            assert other.check(answer) != "", other.name
