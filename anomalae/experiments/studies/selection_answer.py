"""What the table of the study of selection says, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anomalae import text
from anomalae.experiments.studies.base import Row, mean
from anomalae.experiments.studies.choosing import ALWAYS, ANY, LOSS, SYNTHETIC, TOGETHER
from anomalae.experiments.studies.synthetic import KINDS

# A loss of ROC-AUC that is nothing to speak of, and a share of what chance loses that is a good choice.
EQUAL, GOOD = 0.001, 0.25
# Spearman correlations from which a rule ranks well, and somewhat.
WELL, SOMEWHAT = 0.7, 0.3


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say whether the rule of synthetic anomalies finds good settings, and how the loss and each kind do."""
    together = {
        row["rule"]: row for row in table if row["normal"] == TOGETHER and row.get("lost") is not None
    }
    if SYNTHETIC not in together:
        return ()
    rule = together[SYNTHETIC]
    said = [_verdict(rule, together), _beside_default(rule, together, table)]
    if LOSS in together:
        loss = together[LOSS]
        said.append(
            f"Choosing the lowest MSE of held-out normal images costs {loss['lost']:.4f}, "
            f"{_compared(loss['lost'], rule['lost'])} the synthetic anomalies do; it "
            f"{_ranks(loss)}{_in_brackets(loss)}."
        )
    said.append(_kinds(together, table))
    said.append(_hardest(table))
    return tuple(sentence for sentence in said if sentence)


def _verdict(rule: Row, together: Mapping[str, Row]) -> str:
    lost, chance = rule["lost"], together[ANY]["lost"] if ANY in together else None
    said = (
        f"the settings that do best against synthetic anomalies have a ROC-AUC {lost:.4f} below that of the best "
        "settings, the mean over problems"
    )
    if chance is None:
        return f"{said[0].upper()}{said[1:]}."
    if lost < chance and lost <= max(EQUAL, GOOD * chance):
        word = "Yes"
    elif lost < chance - EQUAL:
        word = "In part"
    else:
        word = "No"
    return (
        f"{word}: {said}, where settings drawn at random are {chance:.4f} below; the rule {_ranks(rule)}"
        f"{_in_brackets(rule)}."
    )


def _beside_default(rule: Row, together: Mapping[str, Row], table: Sequence[Row]) -> str:
    """What the default costs beside the rule, over the problems on which it was trained."""
    if ALWAYS not in together:
        return ""
    lost, of_rule, where = together[ALWAYS]["lost"], rule["lost"], ""
    count, problems = together[ALWAYS].get("problems"), rule.get("problems")
    if count != problems:
        default = [row for row in table if row["rule"] == ALWAYS and row["normal"] != TOGETHER]
        there = {row["normal"] for row in default}
        of_rule = mean([row["lost"] for row in table if row["rule"] == SYNTHETIC and row["normal"] in there])
        where = f" on the {count} of {problems} problems where they were trained"
    if of_rule < lost - EQUAL:
        word = "more than the rule"
    elif of_rule > lost + EQUAL:
        word = "less than the rule"
    else:
        word = f"the same as the rule to within {EQUAL}"
    there_too = f" there ({of_rule:.4f})" if where else ""
    return (
        f"Always taking the default settings, which were chosen with anomalies of MNIST in view, costs {lost:.4f}"
        f"{where}, {word}{there_too}."
    )


def _ranks(row: Row) -> str:
    value = row["spearman"]
    if value is None:
        return "gives the settings no order"
    if value >= WELL:
        return "ranks all settings well"
    if value >= SOMEWHAT:
        return "ranks all settings roughly"
    return "hardly ranks the settings" if value > -SOMEWHAT else "ranks the settings the wrong way round"


def _in_brackets(row: Row) -> str:
    if row["spearman"] is None:
        return ""
    sd = "" if row.get("spearman_sd") is None else f" ± {row['spearman_sd']:.2f}"
    unranked = row.get("ranked") not in (None, row.get("problems"))
    where = (
        f", on {row['ranked']} of {row['problems']} problems, having no order on the others"
        if unranked
        else ""
    )
    return f" (Spearman's rank correlation {row['spearman']:.2f}{sd}{where})"


def _compared(lost: float, other: float) -> str:
    if lost > other + EQUAL:
        return "more than"
    return "less than" if lost < other - EQUAL else f"to within {EQUAL} as much as"


def _kinds(together: Mapping[str, Row], table: Sequence[Row]) -> str:
    """Which kind of synthetic anomaly ranks best by itself, and which worst."""
    rated = {kind: together[kind] for kind in KINDS if kind in together}
    # Means over the same problems are compared: a kind gives no order where all settings detect it alike.
    ordered = {
        kind: {row["normal"] for row in table if row["rule"] == kind and row["spearman"] is not None}
        for kind in rated
    }
    every = set().union(*ordered.values())
    values = {
        kind: float(row["spearman"])
        for kind, row in rated.items()
        if row["spearman"] is not None and ordered[kind] == every
    }
    others = [
        f"{kind} ({len(own - {TOGETHER})} of {len(every - {TOGETHER})} problems)"
        for kind, own in ordered.items()
        if own != every
    ]
    beside = f" Not compared, as they give no order on the others: {text.sentence(others)}." if others else ""
    if len(values) < 2:
        return beside.strip()
    best, worst = max(values, key=lambda kind: values[kind]), min(values, key=lambda kind: values[kind])
    if values[best] == values[worst]:
        all_kinds = "The other kinds" if others else "All kinds"
        return (
            f"{all_kinds} of synthetic anomalies, each by itself, rank alike (rank correlation {values[best]:.2f})."
            f"{beside}"
        )
    return (
        f"Of the kinds of synthetic anomalies, each by itself, {best} rank the settings best (rank correlation "
        f"{values[best]:.2f}) and {worst} worst ({values[worst]:.2f}).{beside}"
    )


def _hardest(table: Sequence[Row]) -> str:
    """Where the rule of all kinds loses most."""
    single = [row for row in table if row["normal"] != TOGETHER and row["rule"] == SYNTHETIC]
    if len(single) < 2:
        return ""
    worst = max(single, key=lambda row: row["lost"])
    if worst["lost"] <= EQUAL:
        return f"On no problem do the synthetic anomalies cost more than {EQUAL}."
    return (
        f'The synthetic anomalies cost most with {worst["normal"]} as normal: they take "{worst["chosen"]}" (ROC-AUC '
        f'{worst["roc_auc"]:.4f}) instead of "{worst["best"]}" ({worst["best_roc_auc"]:.4f}).'
    )
