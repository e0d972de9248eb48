"""Figures of a run as text, or as Markdown for the documentation.

    python -m benchmarks.report FILE ...      the later file wins where two have the same scenario

Every cell is the median over the rounds with its spread; the rows `ours / peer` are the medians of the ratios round by
round. The first contender of a scenario is ours.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

Figures = dict[str, float]
#: Contender -> its rounds, ours first.
Rounds = dict[str, list[Figures]]


def table(rounds: Rounds) -> list[list[str]]:
    """Rows of cells, the names of the figures first."""
    ours = next(iter(rounds))
    figures = list(rounds[ours][0])
    rows = [["", *figures]]
    for name, runs in rounds.items():
        rows.append([name, *(_spread([run[figure] for run in runs if figure in run]) for figure in figures)])
    for name, runs in rounds.items():
        if name != ours:
            rows.append([f"ours / {name}", *(_ratio(rounds[ours], runs, figure) for figure in figures)])
    return rows


def text(scenario: str, rounds: Rounds) -> str:
    """For a terminal."""
    lines = [f"\n{scenario}: median (spread)" + " " * 10]
    for first, *cells in table(rounds):
        lines.append(f"{first:34}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def markdown(scenario: str, rounds: Rounds) -> str:
    """For a page."""
    head, *rows = table(rounds)
    lines = [f"### {scenario}", "", _line(head), _line(["---"] * len(head)), *map(_line, rows), ""]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    middle = _short(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({_short(min(values))}-{_short(max(values))})"


def _ratio(ours: list[Figures], theirs: list[Figures], figure: str) -> str:
    pairs = [
        mine[figure] / peer[figure] for mine, peer in zip(ours, theirs, strict=False) if peer.get(figure)
    ]
    return f"x{statistics.median(pairs):.3g}" if pairs else "-"


def _short(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value / 1000:.1f}k"
    return f"{value:.3g}"


def main() -> None:
    found: dict[str, Rounds] = {}
    for name in sys.argv[1:]:
        found |= json.loads(Path(name).read_text())
    print("\n".join(markdown(scenario, rounds) for scenario, rounds in found.items()))


if __name__ == "__main__":
    main()
