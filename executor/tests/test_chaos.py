"""One of the seeds of chaos.py (`make chaos` runs 200), and tests that chaos.py sees what it looks for."""

from pathlib import Path

import chaos
import pytest
from chaos import Life, find_duplicates
from ovhai_standin.platform import Platform

import s3_server
from s3_proxy import Proxy


@pytest.fixture
def chaos_bucket(s3: s3_server.S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "BUCKET", bucket)


def test_nothing_is_lost(tmp_path: Path, s3: s3_server.S3Server, chaos_bucket: None) -> None:
    """In this seed two heads share one GPU, and both are killed."""
    outcome = chaos.run_seed(1139, tmp_path, s3)
    assert outcome.violations == []
    assert outcome.fired > 0 and outcome.jobs >= 6 and outcome.heads >= 2


def test_a_wrong_and_a_missing_file_are_seen(
    tmp_path: Path, s3: s3_server.S3Server, proxy: Proxy, chaos_bucket: None
) -> None:
    seed = chaos.Chaos(0, tmp_path, s3, proxy)
    expected = chaos.get_expected(seed.plan)
    (seed.heads[0].folder / "deliver").mkdir()
    for scene in chaos.SCENES:
        (seed.heads[0].folder / "deliver" / f"{scene}.txt").write_text(expected[f"results/{scene}/three/out.txt"])
    for name, text in expected.items():
        s3.client().put_object(Bucket=chaos.BUCKET, Key=f"{seed.prefix}/{name}", Body=text.encode())
    assert seed.find_wrong_files() == []
    s3.client().put_object(Bucket=chaos.BUCKET, Key=f"{seed.prefix}/results/a/one/out.txt", Body=b"part\n")
    s3.client().delete_object(Bucket=chaos.BUCKET, Key=f"{seed.prefix}/results/b/two/out.txt")
    assert seed.find_wrong_files() == ["results/a/one/out.txt is 'part\\n'", "results/b/two/out.txt is None"]


class Looks:
    """A platform that shows given calls: `job list` by second and head, calls that failed, and orders to stop job b."""

    def __init__(self, looks: list[tuple[float, int]], failed: tuple[float, ...], orders: tuple[float, ...]) -> None:
        self.looks, self.failed, self.orders = looks, failed, orders

    def calls(self, *command: str) -> list[dict[str, object]]:
        if command == ("job", "stop"):
            return [{"time": moment, "argv": ["job", "stop", "b"]} for moment in self.orders]
        before_the_run: list[tuple[float, int]] = [(0.5, 7), (1.5, 8)]
        return [{"time": moment, "caller": head} for moment, head in before_the_run + self.looks]

    def firings(self) -> list[dict[str, object]]:
        return [{"time": moment, "when": "job list", "action": "fail"} for moment in self.failed]


@pytest.mark.parametrize(
    "heads, looks, failed, orders, expected",
    [
        ((7, 8), [(2.5, 7)], (), (), 0),
        ((7, 8), [(2.5, 7), (3.5, 7)], (), (), 1),
        ((7, 8), [(2.5, 7), (3.5, 7)], (), (2.7,), 0),
        ((7, 8), [(2.5, 7), (3.5, 7)], (), (3.7,), 1),
        ((7, 8), [(2.5, 7), (3.5, 8)], (), (), 0),
        ((7, 8), [(2.5, 7), (3.5, 7)], (2.6,), (), 0),
        ((7, 8), [(1.5, 7), (2.5, 7), (4.5, 7)], (), (), 0),
        ((7, 7), [], (), (), 1),
        ((1, 1), [], (), (), 0),
    ],
)
def test_duplicates_are_seen(
    heads: tuple[int, int],
    looks: list[tuple[float, int]],
    failed: tuple[float, ...],
    orders: tuple[float, ...],
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lives = [Life("a", "t", 1, 4, heads[0]), Life("b", "t", 2, 5, heads[1]), Life("c", "t", 5, 6, heads[0])]
    monkeypatch.setattr(chaos, "get_lives", lambda platform: iter([*lives, Life("d", "other", 1, 6, 7)]))
    platform: Platform = Looks(looks, failed, orders)  # type: ignore[assignment]
    violations, longest = find_duplicates(platform)
    assert len(violations) == expected
    assert longest == (0 if failed else 2)
