"""Which of the measured frames of a clip are kept: the sharpest of each stretch of motion.

Time alone would give most frames to where the camera stood. So the frames are cut into stretches over which the picture
moves on by the same amount, with a small share of time, and what shows nothing new gives way first.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from videomesh.frames.motion import Frame, find_cuts

TIME_SHARE = 0.1  # of a stretch's length that is time, the rest is motion
EVENNESS = 0.1  # so much sharper, as a share, a frame at the end of a stretch has to be than one in its middle
BLACK = 0.025  # mean luminance, 0 to 1: nothing can be seen below it
ENOUGH = 20  # frames that are left at least if standing frames and copies give way
LEAST = 3  # frames that are left at least if black frames and titles give way
STANDING_RATE = 0.1  # of the usual rate of motion: below it the camera stands
MIN_STANDING, MAX_STANDING = 0.4, 1.0  # seconds: a shorter stop is never called standing, a longer one always
TREMBLING = 0.005  # of the picture's long side: what moves in a hand that stands
MAX_TITLES = 0.5  # of the clip; where more stands between cuts, it is a show of still pictures
COPY = 0.1  # of a large change between neighbours, and at most MAX_COPY gray levels: what a coder does to a copy
MAX_COPY = 6.0
NOMINAL_RATE = 25.0  # frames a second where the file has no time stamps


class Clip(NamedTuple):
    """A clip as far as choosing frames goes. All lists have one entry a frame."""

    positions: Sequence[float]  # seconds, or numbers of frames; increasing
    timed: bool  # positions are seconds
    sharpness: Sequence[float]
    motion: Sequence[Frame]
    damaged: Set[int]


class Stretch(NamedTuple):
    """Neighbouring frames that gave way, first and last, and how many of them did."""

    first: int
    last: int
    frames: int
    reason: str  # black, title, still, duplicate, damaged


class Sifted(NamedTuple):
    """What is left of a clip before frames are chosen by motion."""

    candidates: List[int]
    steps: np.ndarray  # from each candidate to the next one, in shares of all motion and time; the sum is 1 or less
    amount: float  # motion of the clip, in long sides of the picture
    seconds: float  # in which it moves
    rejected: List[Stretch]
    cuts: List[int]


def sift(clip: Clip, target: int) -> Sifted:
    """The frames from which `target` can be chosen, and what gives way to them."""
    count = len(clip.positions)
    times = np.array(clip.positions, float) / (1 if clip.timed else NOMINAL_RATE)
    black = {index for index in range(count) if clip.motion[index].luminance < BLACK}
    cuts = [cut for cut in find_cuts(clip.motion) if not {cut - 1, cut} & clip.damaged]
    borders = {*cuts, *edges(black)}
    advance = np.array([frame.advance for frame in clip.motion], float)
    advance[[index for index in range(count) if index in cuts or {index - 1, index} & black]] = 0.0
    standing = find_standing(times, advance, borders, target)
    titles = find_titles([run for run in standing if run[0] not in black], times, {0, count, *borders})
    pauses = [run for run in standing if run not in titles]

    sieve = Sieve(count)
    sieve.drop(group(sorted(clip.damaged), "damaged"), clip.damaged, 0)
    sieve.drop(group(sorted(black - clip.damaged), "black"), black, LEAST)
    sieve.drop([Stretch(a, b, b - a + 1, "title") for a, b in titles], members(titles), LEAST)
    shown = set(sieve.left)
    enough = min(target, ENOUGH)
    if not sieve.drop(*thin_out(pauses, sieve.left, clip.sharpness), enough):
        pauses = []  # nearly all of the clip: what is chosen from is the whole of it
    sieve.drop(*find_copies(clip.motion, set(sieve.left) - members(pauses)), enough)

    spent = np.diff(times, prepend=times[0])
    spent[[index for index in members(pauses) if index - 1 in members(pauses)]] = 0.0
    amount, seconds = float(advance.sum()), float(spent.sum())
    share = TIME_SHARE if amount > TREMBLING else 1.0
    length = (share * spent / seconds if seconds else 0 * spent) + (1 - share) * advance / (amount or 1)
    reached = np.cumsum(length)[sieve.left]
    steps = np.diff(reached, prepend=reached[:1])
    cuts = [cut for cut in cuts if cut in shown and cut > min(shown)]  # where something is shown before it, too
    return Sifted(sieve.left, steps, amount, seconds, sorted(sieve.rejected), cuts)


class Sieve:
    """The frames that are left of a clip, and the stretches that gave way."""

    def __init__(self, count: int) -> None:
        self.left = list(range(count))
        self.rejected: List[Stretch] = []

    def drop(self, stretches: Sequence[Stretch], gone: Set[int], enough: int) -> bool:
        """Leave out the frames that are gone, unless fewer than enough would be left. Whether they gave way."""
        after = [index for index in self.left if index not in gone]
        if len(after) < enough:
            return not gone
        self.left = after
        self.rejected += stretches
        return True


def members(runs: Sequence[Tuple[int, int]]) -> Set[int]:
    """The frames of runs that are given by their first and last ones."""
    return {index for first, last in runs for index in range(first, last + 1)}


def choose(sifted: Sifted, sharpness: Sequence[float], target: int) -> List[int]:
    """The sharpest candidate of each of `target` stretches of equal length, all if there are no more.

    Of frames that are about as sharp, that nearest to the middle is taken, so that views are even. A stretch's winner
    is kept however blurred it is: matching neighbours needs an unbroken chain. A step between two candidates that is
    longer than a stretch counts as one, so that no stretch is empty and exactly `target` are kept.
    """
    candidates = sifted.candidates
    if len(candidates) <= target:
        return list(candidates)
    steps = sifted.steps.copy()
    steps[0] = steps[1:].mean()  # the first lasts as long as the others
    steps = limit_steps(steps + 1e-6 * steps.mean() + 1e-12, target)
    middles = np.cumsum(steps) - steps / 2
    places = middles / steps.sum() * target + 1e-6  # middles a stretch apart are so in spite of rounding
    stretches = np.minimum(places, target - 1).astype(int)
    off_middle = np.abs(2 * (places - stretches) - 1)
    worth = np.array([sharpness[index] for index in candidates]) * (1 - EVENNESS * off_middle)
    best: Dict[int, int] = {}
    for number, stretch in enumerate(stretches.tolist()):
        if stretch not in best or worth[number] > worth[best[stretch]]:
            best[stretch] = number
    return [candidates[number] for _, number in sorted(best.items())]


def limit_steps(steps: np.ndarray, target: int) -> np.ndarray:
    """The steps, none longer than their sum over target; there have to be more steps than that."""
    ordered = np.sort(steps)
    below = np.cumsum(ordered)
    # With the longest k steps limited to c: c * target = sum of the others + k * c.
    for k in range(target):
        limit = float(below[len(ordered) - k - 1]) / (target - k)
        if limit >= ordered[len(ordered) - k - 1]:
            return np.minimum(steps, limit)
    return np.minimum(steps, float(ordered[0]))


def share_out(sifted: Sequence[Sifted], target: int) -> List[int]:
    """How many of `target` frames each clip gives: by its motion and time, all of a clip that has fewer.

    One frame after another goes to the clip that has fewest for its weight (the method of Sainte-Lague).
    """
    weights = np.zeros(len(sifted))
    for name, share in (("amount", 1 - TIME_SHARE), ("seconds", TIME_SHARE)):
        values = np.array([getattr(clip, name) for clip in sifted])
        weights += share * (values / values.sum() if values.sum() > 0 else 1 / len(sifted))
    most = np.array([len(clip.candidates) for clip in sifted])
    shares = np.minimum(most, min(LEAST, target // len(sifted)))
    while shares.sum() < min(target, most.sum()):
        shares[np.argmax(np.where(shares < most, weights / (shares + 0.5), -1))] += 1
    return [int(share) for share in shares]


def group(indices: Sequence[int], reason: str) -> List[Stretch]:
    """Neighbouring numbers (increasing) as stretches."""
    runs: List[List[int]] = []
    for index in indices:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return [Stretch(run[0], run[-1], len(run), reason) for run in runs]


def edges(indices: Set[int]) -> Set[int]:
    """Frames that begin a run of these, and those that follow one."""
    return {k for k in indices if k - 1 not in indices} | {k + 1 for k in indices if k + 1 not in indices}


def find_standing(times: np.ndarray, advance: np.ndarray, borders: Set[int], target: int) -> List[Tuple[int, int]]:
    """First and last frames of the stretches over which the camera stands, the longest ones that there are.

    borders: frames that begin something else, so that no stretch goes on beyond them.
    """
    steps = np.diff(times)
    moved = float(advance.sum())
    if moved <= TREMBLING:
        return []
    rates = advance[1:] / steps
    usual = float((rates * advance[1:]).sum()) / moved  # the rate at which most of the motion happens
    allowed = max(moved / target / 2, TREMBLING)
    shortest = min(max(3 * float(times[-1] - times[0]) / target, MIN_STANDING), MAX_STANDING)
    reached = np.cumsum(advance) + np.cumsum([1e3 if k in borders else 0.0 for k in range(len(times))])
    lasts = np.searchsorted(reached, reached + allowed, side="right") - 1
    runs = [
        (first, int(last))
        for first, last in enumerate(lasts)
        if times[last] - times[first] >= shortest
        and reached[last] - reached[first] <= STANDING_RATE * usual * (times[last] - times[first])
    ]
    runs.sort(key=lambda run: (times[run[0]] - times[run[1]], run[0]))
    taken: List[Tuple[int, int]] = []
    for first, last in runs:
        if all(last < a or first > b for a, b in taken):
            taken.append((first, last))
    return join_runs(sorted(taken), borders)


def join_runs(runs: List[Tuple[int, int]], borders: Set[int]) -> List[Tuple[int, int]]:
    """Two that follow each other as one; without three and more, where the camera moves slowly and does not stand."""
    chains: List[List[Tuple[int, int]]] = []
    for run in runs:
        if chains and run[0] - chains[-1][-1][1] <= 2 and not borders & set(range(chains[-1][-1][1] + 1, run[0] + 1)):
            chains[-1].append(run)
        else:
            chains.append([run])
    return [(chain[0][0], chain[-1][1]) for chain in chains if len(chain) < 3]


def thin_out(
    pauses: Sequence[Tuple[int, int]], left: Sequence[int], sharpness: Sequence[float]
) -> Tuple[List[Stretch], Set[int]]:
    """What gives way of the stretches over which the camera stands: all but the sharpest frame of each half."""
    stretches: List[Stretch] = []
    gone: Set[int] = set()
    for first, last in pauses:
        inside = [index for index in left if first <= index <= last]
        halves = [half for half in (inside[: len(inside) // 2], inside[len(inside) // 2 :]) if half]
        surplus = set(inside) - {max(half, key=lambda index: sharpness[index]) for half in halves}
        if surplus:
            gone |= surplus
            stretches.append(Stretch(first, last, len(surplus), "still"))
    return stretches, gone


def find_titles(standing: List[Tuple[int, int]], times: np.ndarray, borders: Set[int]) -> List[Tuple[int, int]]:
    """Standing stretches that are cut off on both sides, which no stop of the camera is; none if they are the film."""
    whole = (0, len(times) - 1)
    titles = [run for run in standing if run != whole and run[0] in borders and run[1] + 1 in borders]
    seconds = sum(times[last] - times[first] for first, last in titles)
    return titles if seconds <= MAX_TITLES * (times[-1] - times[0]) else []


def find_copies(motion: Sequence[Frame], left: Set[int]) -> Tuple[List[Stretch], Set[int]]:
    """Frames that are copies of the one before, in one entry."""
    changed = np.array([frame.changed for frame in motion])
    large = float(np.percentile(changed[1:], 90)) if len(changed) > 1 else 0.0
    copies = {k for k in left if k and changed[k] <= min(COPY * large, MAX_COPY)}
    if not copies:
        return [], copies
    return [Stretch(min(copies), max(copies), len(copies), "duplicate")], copies


def describe(stretches: Sequence[Stretch], seconds: Sequence[Optional[float]], clip: int) -> List[Dict[str, Any]]:
    """Entries of `rejected` in frames.json."""
    return [
        {"clip": clip, "from": seconds[first], "to": seconds[last], "frames": frames, "reason": reason}
        for first, last, frames, reason in stretches
    ]
