"""Two runs side by side on the same cases."""

import numpy as np

from helpers import intervals

MEASURES = {
    "liver_dice": "liver Dice", "tumour_dice": "tumour Dice", "macro_dice": "mean of both",
    "lesions_found_iou50": "lesions found, IoU > 0.5", "false_lesions": "false lesions",
}  # fmt: skip


def paired(first, second, column):
    """Differences of one column per case, second less first.

    first, second  tables of cases; only cases in both are compared.
    returns        dict: table (case, first, second, difference), mean, low, high (95 % bootstrap), p (Wilcoxon's
                   signed-rank test over patients, two-sided; None when no case differs), cases, patients, better, worse.
    Raises ValueError when the two have no case in common.
    """
    from scipy.stats import wilcoxon

    table = first[["case", column]].merge(second[["case", column]], on="case", suffixes=("_first", "_second"))
    if table.empty:
        raise ValueError("the two runs have no case in common; score the same split of both")
    table.columns = ["case", "first", "second"]
    table["difference"] = table.second - table["first"]
    table = table.sort_values("case", kind="stable").reset_index(drop=True)
    change = table.difference.to_numpy(float)
    whose = intervals.patients(second).set_axis(second.case)[table.case]
    low, high = intervals.interval(change, groups=whose)
    of_patients = table.difference.groupby(whose.to_numpy()).mean()  # the test takes its values for independent ones
    p = float(wilcoxon(of_patients).pvalue) if (of_patients != 0).any() else None
    out = {
        "table": table, "mean": float(change.mean()), "low": low, "high": high, "p": p,
        "cases": len(table), "patients": len(of_patients),
    }  # fmt: skip
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in out.items()} | {
        "better": int((change > 0).sum()), "worse": int((change < 0).sum())
    }  # fmt: skip


def holm(p):
    """Holm's correction of several tests' p (n,), nan where nothing was tested; returns float (n,), nan in the same places.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    p = np.asarray(p, float)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # nan comes last
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out


def side_by_side(first, second):
    """A row per measure: means of both, their difference with its interval and Wilcoxon's p, as a DataFrame."""
    import pandas as pd

    rows = []
    worst = max(first.false_lesions.max(), second.false_lesions.max())  # a missing prediction is no better than the worst
    first, second = (t.assign(false_lesions=t.false_lesions.where(t.failed.fillna("") == "", worst)) for t in (first, second))
    for column, name in MEASURES.items():
        found = paired(first, second, column)
        means = found["table"]["first"].mean(), found["table"].second.mean()
        rows.append({"measure": name, "first": means[0], "second": means[1], "difference": found["mean"]} | {
            key: found[key] for key in ("low", "high", "p", "better", "worse", "cases")
        })  # fmt: skip
    return pd.DataFrame(rows)


def flat(rows, other):
    """The comparison as keys of the summary: `paired.tumour_dice.mean`, `.low`, `.high`, `.p`."""
    rule = "this run less the other, per case; p is Wilcoxon's over patients, None when none differs"
    out = {"paired.with": other, "paired.rule": rule}
    for column, row in zip(MEASURES, rows.to_dict("records"), strict=True):
        named = {"mean": row["difference"], "low": row["low"], "high": row["high"], "p": row["p"]}
        out |= {f"paired.{column}.{name}": intervals.plain(value) for name, value in named.items()}
    return out
