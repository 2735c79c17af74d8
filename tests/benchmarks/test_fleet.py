"""The executor's queue with many scenes, by the platform's own clock."""

import fleet
import scale
from scale import INTERVALS, JOBS, STEPS, WINDOW

SCENES = 6 * 16  # as many for each GPU: the bound knows nothing of a last scene that has the GPUs to itself


def test_ninety_six_scenes_keep_the_gpus_busy_and_none_waits_for_long() -> None:
    done = fleet.run(scenes=SCENES, gpus=16)
    spans = done.read_spans()
    assert {name: len(jobs) for name, jobs in spans.items()} == dict.fromkeys(STEPS, SCENES)
    makespan = max(span.end for span in spans["pack"]) - min(span.submitted for span in spans["prepare"])
    assert 1 < makespan / scale.get_bound(SCENES, 16, 1) <= 1.1
    assert max(scale.get_gaps(spans)) <= 1.5 * STEPS["train"][0], "a scene that has begun is not left alone"
    assert scale.count_overtakers(spans) <= JOBS
    most = WINDOW / (INTERVALS[0] * 0.9)
    assert max(scale.count_lists(done.lists, spans)) <= most, "however many jobs there are"
