"""From answers to table 4: preferences with intervals, strengths, agreement, exclusions."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from paha_core.benchmark.study import answers as answer_file
from paha_core.benchmark.study.answers import Answer
from paha_core.benchmark.study.design import QUESTIONS, AnswerKey, Study, load_study
from paha_core.metrics.bootstrap import Interval
from paha_core.store import Store

RESULT = "benchmark/study.json"
TOO_FAST = 1.0  # seconds, median of an answer
PAPER: dict[str, tuple[float, ...]] = {
    "SDT": (15.0, 8.2, 10.0, 6.2),
    "MM-Diffusion": (8.6, 13.6, 11.8, 10.6),
    "S2G": (12.6, 15.6, 13.6, 13.8),
    "PAHA-DG": (63.8, 62.6, 64.6, 69.4),
}
"""Table 4 as printed: percent by question, in the order of `QUESTIONS`."""


@dataclass(frozen=True)
class Vote:
    """One rater's choice among systems for one item and question."""

    rater: str
    item: str
    question: str
    winner: str
    losers: tuple[str, ...]


@dataclass(frozen=True)
class Preference:
    """A system under one question. `share`: of the votes in sets where it was an option, with a 95
    % interval over raters; `chance`: the share at random choice. `strength`: Bradley-Terry, the
    mean of all systems' logarithms is 0."""

    question: str
    system: str
    share: Interval
    chance: float
    strength: float
    votes: int


@dataclass(frozen=True)
class StudyResult:
    """`agreement`: Fleiss' kappa by question, None where no item has two raters. `excluded`: raters
    and why."""

    study: str
    raters: int
    preferences: list[Preference]
    agreement: dict[str, float | None]
    excluded: dict[str, str]
    repeated: int  # answers of a question that the rater had answered: the first counts
    unreadable: int  # lines


def analyse(folder: Path, files: list[Path] | None = None, *, seed: int = 0) -> StudyResult:
    """Analyse the answers in a study's folder, or in `files` sent in by raters of a static page."""
    study, key = load_study(folder)
    paths = files or [path for path in (folder / answer_file.FILE,) if path.is_file()]
    found, unreadable = answer_file.read(paths)
    first, repeated = _first_answers(found, study)
    excluded = _excluded(first, study, key)
    votes = [vote for vote in _votes(first, study, key) if vote.rater not in excluded]
    questions = [question for question in QUESTIONS if any(v.question == question for v in votes)]
    preferences, agreement = [], {}
    for question in questions:
        own = [vote for vote in votes if vote.question == question]
        preferences += _preferences(question, own, seed)
        agreement[question] = fleiss_kappa(own)
    raters = len({vote.rater for vote in votes})
    return StudyResult(study.name, raters, preferences, agreement, excluded, repeated, unreadable)


def _first_answers(found: list[Answer], study: Study) -> tuple[list[Answer], int]:
    """The first of each rater's answers to a question of an item; later ones are ignored."""
    first: dict[tuple[str, str, str], Answer] = {}
    own = [answer for answer in found if answer["study"] == study.name]
    for answer in own:
        first.setdefault((answer["rater"], answer["item"], answer["question"]), answer)
    return list(first.values()), len(own) - len(first)


def _excluded(found: list[Answer], study: Study, key: AnswerKey) -> dict[str, str]:
    """Raters who failed or skipped a check, or answered faster than a video can be watched."""
    by_rater: dict[str, list[Answer]] = defaultdict(list)
    for answer in found:
        by_rater[answer["rater"]].append(answer)
    reasons = {}
    for rater, own in by_rater.items():
        checks = {a["item"]: a["choice"] for a in own if a["item"] in key.answers}
        failed = [name for name, right in key.answers.items() if checks.get(name) != right]
        quick = float(np.median([a["seconds"] for a in own]))
        if failed:
            missed = all(name in checks for name in failed)
            reasons[rater] = f"{'failed' if missed else 'did not take'} {' and '.join(failed)}"
        elif quick < TOO_FAST:
            reasons[rater] = f"answered in {quick:.1f} s at the median"
    return reasons


def _votes(found: list[Answer], study: Study, key: AnswerKey) -> list[Vote]:
    items = {item.name: item for item in study.items if item.kind == "rating"}
    votes = []
    for answer in found:
        item = items.get(answer["item"])
        if item is None or answer["choice"] not in item.options:
            continue
        systems = {option: key.systems[option] for option in item.options}
        winner = systems.pop(answer["choice"])
        who, question = answer["rater"], answer["question"]
        votes.append(Vote(who, item.name, question, winner, tuple(systems.values())))
    return votes


# --- statistics -----------------------------------------------------------------------------------


def _preferences(
    question: str, votes: list[Vote], seed: int, rounds: int = 1000
) -> list[Preference]:
    systems = sorted({s for vote in votes for s in (vote.winner, *vote.losers)})
    strengths = bradley_terry(votes, systems)
    raters = sorted({vote.rater for vote in votes})
    won, shown = (np.zeros((len(raters), len(systems))) for _ in range(2))
    options = np.zeros(len(systems))
    for vote in votes:
        row = raters.index(vote.rater)
        won[row, systems.index(vote.winner)] += 1
        for system in (vote.winner, *vote.losers):
            shown[row, systems.index(system)] += 1
            options[systems.index(system)] += 1 / (1 + len(vote.losers))
    picks = np.random.default_rng(seed).integers(len(raters), size=(rounds, len(raters)))
    found = []
    for k, system in enumerate(systems):
        total = shown[:, k].sum()
        share = float(won[:, k].sum() / total)
        bounds: tuple[float | None, float | None] = (None, None)
        if len(raters) > 1:
            draws = won[picks, k].sum(1) / np.maximum(shown[picks, k].sum(1), 1)
            low, high = np.percentile(draws, [2.5, 97.5])
            bounds = (float(low), float(high))
        found.append(
            Preference(
                question,
                system,
                Interval(share, *bounds),
                float(options[k] / total),
                strengths[system],
                int(won[:, k].sum()),
            )
        )
    return found


def bradley_terry(votes: list[Vote], systems: list[str], rounds: int = 500) -> dict[str, float]:
    """Log strengths whose odds explain the votes (Luce's choice among any number of options), by
    Hunter's minorisation (2004). A tenth of a vote for each system in each set keeps the strengths
    of systems that always won or lost finite. Their mean is 0.
    """
    if not votes:
        return {}
    index = {system: k for k, system in enumerate(systems)}
    sets = Counter(tuple(sorted(index[s] for s in (v.winner, *v.losers))) for v in votes)
    wins = np.zeros(len(systems))
    for vote in votes:
        wins[index[vote.winner]] += 1
    for members in sets:
        wins[list(members)] += 0.1
    counts = {members: n + 0.1 * len(members) for members, n in sets.items()}
    strength = np.ones(len(systems))
    for _ in range(rounds):
        share = np.zeros(len(systems))
        for members, n in counts.items():
            share[list(members)] += n / strength[list(members)].sum()
        new = wins / share
        new /= np.exp(np.log(new).mean())
        if np.allclose(new, strength, rtol=1e-10):
            break
        strength = new
    return {system: float(np.log(strength[k])) for system, k in index.items()}


def fleiss_kappa(votes: list[Vote]) -> float | None:
    """Agreement of raters about items beyond chance: 1 is full agreement, 0 chance (Fleiss 1971,
    with any number of raters an item). Chance agreement is computed over items with the same
    options: for two videos it is one half, whatever other pairs there are. None where no item has
    two raters, or all choices are the same.
    """
    by_item: dict[tuple[str, frozenset[str]], Counter[str]] = defaultdict(Counter)
    for vote in votes:
        by_item[vote.item, frozenset((vote.winner, *vote.losers))][vote.winner] += 1
    tables = {key: counts for key, counts in by_item.items() if counts.total() >= 2}
    if not tables:
        return None
    everyone: dict[frozenset[str], Counter[str]] = defaultdict(Counter)
    for (_, options), counts in tables.items():
        everyone[options] += counts
    agreed, chance = [], []
    for (_, options), counts in tables.items():
        n, total = counts.total(), everyone[options].total()
        agreed.append(sum(k * (k - 1) for k in counts.values()) / (n * (n - 1)))
        chance.append(sum((k / total) ** 2 for k in everyone[options].values()))
    expected = float(np.mean(chance))
    return None if expected == 1 else (float(np.mean(agreed)) - expected) / (1 - expected)


# --- tables ---------------------------------------------------------------------------------------


def to_markdown(result: StudyResult) -> str:
    """Table 4: ours, the paper's beside it, agreement, and who was left out."""
    lines = [
        f"{result.raters} raters; {len(result.excluded)} left out; {result.repeated} repeated "
        f"answers and {result.unreadable} unreadable lines ignored.",
        "",
        f"| system | {' | '.join(result.agreement)} |",
        "|---" * (len(result.agreement) + 1) + "|",
    ]
    cells = {(p.system, p.question): p for p in result.preferences}
    for system in dict.fromkeys(p.system for p in result.preferences):
        found = [cells.get((system, question)) for question in result.agreement]
        lines.append(f"| {system} | {' | '.join(map(_cell, found))} |")
    for system, printed in PAPER.items():
        shown = dict(zip(QUESTIONS, printed, strict=True))
        paper = (f"{shown[question]:.1f} %" for question in result.agreement)
        lines.append(f"| {system}, printed in the paper | {' | '.join(paper)} |")
    kappas = ("–" if k is None else f"{k:.2f}" for k in result.agreement.values())
    lines.append(f"| agreement, Fleiss' kappa | {' | '.join(kappas)} |")
    return "\n".join([*lines, "", *(f"- {r}: {why}" for r, why in result.excluded.items()), ""])


def _cell(found: Preference | None) -> str:
    if found is None:
        return "–"
    share, spread = found.share, ""
    if share.low is not None and share.high is not None:
        spread = f" [{share.low:.0%} … {share.high:.0%}]"
    return f"{share.value:.1%}{spread}, strength {found.strength:+.2f}"


def save(store: Store, result: StudyResult) -> None:
    """`benchmark/study.json`, which the report reads, and `report/tables/table4.md`."""
    store.write_json(RESULT, asdict(result))
    store.write_bytes("report/tables/table4.md", to_markdown(result).encode())


def load(store: Store) -> StudyResult | None:
    """The result that `save` last wrote, or None."""
    if not store.exists(RESULT):
        return None
    stored = store.read_json(RESULT)
    stored["preferences"] = [
        Preference(**p | {"share": Interval(**p["share"])}) for p in stored["preferences"]
    ]
    return StudyResult(**stored)
