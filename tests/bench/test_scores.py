from bench.report import Figure
from bench.scores import Score, failures, table


def score(mode: str, name: str, problem: str = "") -> Score:
    return Score(
        mode=mode,
        category="time",
        name=name,
        right=not problem,
        problem=problem,
        answer="12:00",
        stop="done",
        reason="",
        steps=3,
        unusable=0,
        rescued=0,
        refused=0,
        used=("clock",),
        expected=("clock",),
        seconds=4.0,
        prompt_tokens=100,
        completion_tokens=20,
    )


def test_the_table_counts_right_runs_by_category_and_mode() -> None:
    scores = [score("guided", "a"), score("guided", "b", "wrong"), score("planned", "a")]
    lines = table(scores).splitlines()
    assert lines[0] == "| category | guided | planned |"
    assert lines[2] == "| time | 1/2 | 1/1 |"
    assert lines[3] == "| **right** | 1/2 = 50 % | 1/1 = 100 % |"


def test_failures_are_named_with_their_reason() -> None:
    scores = [score("guided", "b", "wrong"), score("guided", "b"), score("planned", "a")]
    assert failures(scores) == "- guided, b: 1/2 right (wrong)"
    assert failures(scores[2:]) == "None."


def test_a_goal_is_a_ratio_or_a_bound_of_our_own_value() -> None:
    assert Figure("rate", "/s", [10], [31], at_least=3).verdict == "met"
    assert Figure("rate", "/s", [10], [29], at_least=3).verdict == "MISSED"
    assert Figure("turn", "ms", [114], [2.9], below=3).verdict == "met"
    assert Figure("turn", "ms", [114], [2.9]).verdict == ""


def test_the_ratio_is_that_of_the_rounds_so_that_one_slow_round_does_not_decide() -> None:
    figure = Figure("CPU", "ms", [10, 50, 12], [4, 20, 24])
    assert figure.ratio == 0.4
    assert (figure.bare, figure.agentkit) == (12, 20)
