"""What the benchmarks of many scenes compute from what they see."""

import planning
import scale
from scale import STEPS, Span, Usage


def test_no_schedule_is_faster_than_the_bound() -> None:
    seconds = {name: length for name, (length, _) in STEPS.items()}
    alone = sum(seconds.values())
    assert scale.get_bound(1, 16, 1) == scale.get_bound(16, 16, 1) == alone, "a scene's own jobs come one after another"
    assert scale.get_bound(32, 16, 1) == alone + seconds["train"] + seconds["mesh"]
    assert scale.get_bound(32, 16, 10) == scale.get_bound(32, 16, 1) / 10


def test_a_job_of_the_platform_is_read() -> None:
    times = {"startedAt": "2026-11-27T12:00:05.123456789Z", "finalizedAt": "2026-11-27T12:00:07Z"}
    tags = {"snakemake-rule": "train", "snakemake-wildcard-scene": "7"}
    job = {"createdAt": "2026-11-27T12:00:00Z", "status": times, "spec": {"labels": tags}}
    (span,) = scale.read_spans([job])["train"]
    assert span.scene == "7" and round(span.begin - span.submitted, 3) == 5.123 and span.end - span.submitted == 7


def test_the_longest_wait_of_a_scene_and_the_lists_of_each_minute_are_told() -> None:
    train, mesh = STEPS["train"][0], STEPS["mesh"][0]
    spans = {
        "train": [Span("a", 0, 0, train), Span("b", 0, 0, train)],
        "mesh": [Span("b", train, train, train + mesh), Span("a", train, 3 * train, 3 * train + mesh)],
    }
    assert scale.get_gaps(spans) == [2 * train, 0]
    lists = [*range(0, 120, 5), *range(120, 180, 10)]
    assert scale.count_lists(list(map(float, lists)), spans)[:3] == [12, 12, 6]
    spans["prepare"] = [Span("a", 0, 0, 1), Span("b", 0, 0.5, 1), Span("c", 0, 2, 3)]
    spans["pack"] = [Span("b", 0, 10, 20), Span("c", 0, 10, 30), Span("a", 0, 10, 40)]
    assert scale.count_overtakers(spans) == 2 and scale.get_longest_scene(spans) == 40
    text = scale.table(3, 1, 1, Usage(9999.0, 77.0, 123.4), spans, list(map(float, lists)))
    assert "| longest wait of a scene between train and mesh, in trainings | 2.00 |" in text
    assert "| 3, 10, 1 |" in text and "| 123 |" in text and "| 77 |" in text


def test_plans_are_compared_with_the_one_from_files() -> None:
    files, stored = planning.Plan(10.0, 9.0, 100.0), planning.Plan(15.0, 12.0, 250.0, 1234)
    text = planning.table([("files", 7, files, files), ("S3", 7, stored, files)])
    assert "| files | 7 | 10.0 | 1.00 | 9.0 | 1.00 | 100 |  |" in text
    assert "| S3 | 7 | 15.0 | 1.50 | 12.0 | 1.33 | 250 | 1,234 |" in text
    three = [planning.Plan(1.0, 3.0, 5.0), planning.Plan(9.0, 4.0, 6.0), planning.Plan(2.0, 9.0, 7.0, 11)]
    assert planning.take_median(three) == planning.Plan(2.0, 4.0, 6.0, 11)
