"""`make soak`: every fault test again and again, as often as it matters and as the time allows.

    python -m tests.soak [--minutes N] [--only NAME ...]

Every fault is wanted a hundred times, since what happens once in a hundred kills counts, and the minute of chaos from
each of its seeds. All of it takes more than a day (`--minutes 0`). Parts take turns, so that a short run has a little of
everything; a run shorter than usual has fewer random workflows (`EXAMPLES`, of each kind of them). It begins with what
single faults cost (`tests.account`) and ends with a table of what ran, and with exit code 1 if anything failed; what
failed is kept in `.cache/soak/`.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests import account

ROOT = Path(__file__).parents[1]
KEPT = ROOT / ".cache" / "soak"

#: How often each test of a file is wanted.
USUAL = 100
#: Where it is another number: of files that have their kills three times in themselves (102 of each), and of those
#: that kill nothing, where each round is like the one before.
ROUNDS = {
    "test_worker_kills": 34,
    "test_chords": 34,
    "test_store_file": 3,
    "test_malformed": 3,
}
#: Rounds of `tests.account`.
ACCOUNTS = 2
#: Random workflows on each target in a run of the usual length.
EXAMPLES = 3000
USUAL_MINUTES = 55.0
#: Seconds that one turn of a part should take.
TURN = 60.0
#: What a first turn is taken to cost, in seconds.
UNKNOWN = 90.0


@dataclass(slots=True)
class Part:
    """One file of tests, or those of it that are for here only.

    Attributes:
        wanted: rounds.
        counts: of passed, failed and skipped runs.
    """

    path: Path
    marker: str
    wanted: int
    done: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.path.stem}{' (long)' if self.marker == 'soak' else ''}"

    def next_rounds(self) -> int:
        """How many rounds the next turn is to be."""
        if not self.done:
            return 1
        each = self.seconds / self.done
        return max(1, min(self.wanted - self.done, int(TURN / max(each, 0.1))))

    def cost(self, rounds: int) -> float:
        """What that will take, by what was measured."""
        return self.seconds / self.done * rounds if self.done else UNKNOWN

    def run(self, rounds: int) -> None:
        """Run some rounds, and count."""
        command = [sys.executable, "-m", "pytest", "-q", "-n", str(os.cpu_count() or 2), "--timeout=900"]
        command += ["-m", self.marker, "--rounds", str(rounds), str(self.path)]
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        self.seconds += time.monotonic() - began
        self.done += rounds
        *_, last = ["", *done.stdout.strip().splitlines()]
        for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last):
            self.counts[word] = self.counts.get(word, 0) + int(number)
        if done.returncode not in (0, 5):  # 5: nothing of this kind in the file
            self.counts.setdefault("failed", 1)
            KEPT.mkdir(parents=True, exist_ok=True)
            (KEPT / f"{self.path.stem}-{self.done}.txt").write_text(done.stdout + done.stderr)
            for line in re.findall(r"^(?:FAILED|ERROR) .*$", done.stdout, re.MULTILINE):
                print(f"  {line[:150]}", flush=True)


def parts(only: list[str]) -> list[Part]:
    """All parts, those that are for here only first."""
    files = sorted(
        path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.soak" in path.read_text()
    )
    found = [Part(path, "soak", 1) for path in files]
    faults = sorted((ROOT / "tests" / "faults").glob("test_*.py"))
    found += [Part(path, "not soak", ROUNDS.get(path.stem, USUAL)) for path in faults]
    return [part for part in found if not only or any(name in part.name for name in only)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=USUAL_MINUTES, help="0: until all has run")
    parser.add_argument("--only", nargs="*", default=[], help="files by a part of their name")
    options = parser.parse_args()
    minutes = options.minutes or math.inf
    end = time.monotonic() + minutes * 60
    share = min(1.0, minutes / USUAL_MINUTES)
    os.environ.setdefault("EXAMPLES", str(int(EXAMPLES * share)))
    todo = parts(options.only)
    losses = 0 if options.only else account.run_all(ACCOUNTS)
    waiting = list(todo)
    while waiting:
        part = waiting.pop(0)
        rounds = part.next_rounds()
        if part.done and time.monotonic() + part.cost(rounds) > end:
            continue  # no time for more of it
        if time.monotonic() > end:
            continue
        part.run(rounds)
        left = (end - time.monotonic()) / 60
        print(f"{part.name}: {part.done} of {part.wanted} rounds, {left:.0f} minutes left", flush=True)
        if part.done < part.wanted:
            waiting.append(part)
    return summary(todo) or losses


def summary(todo: list[Part]) -> int:
    """Print what ran; the exit code."""
    print(f"\n{'':28}{'rounds':>12}{'passed':>9}{'failed':>9}{'seconds':>9}")
    for part in todo:
        failed = part.counts.get("failed", 0) + part.counts.get("error", 0)
        rounds = f"{part.done} of {part.wanted}"
        print(f"{part.name:28}{rounds:>12}{part.counts.get('passed', 0):>9}{failed:>9}{part.seconds:>9.0f}")
    bad = sum(part.counts.get("failed", 0) + part.counts.get("error", 0) for part in todo)
    print(f"\n{sum(part.counts.get('passed', 0) for part in todo)} runs passed, {bad} failed")
    if bad:
        print(f"What failed is in {KEPT.relative_to(ROOT)}/.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
