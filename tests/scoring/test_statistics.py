"""Bootstrap intervals over cases, and over patients whose scans err alike."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from helpers.scoring import statistics


def test_scans_of_one_patient_are_drawn_together():
    """Two patients with two equal scans each: a resample is one of 0, ½ and 1, so the interval is all of it."""
    values, whose = [0.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"]
    assert statistics.bootstrap_ci(values, groups=whose) == (0.0, 1.0)
    alone = statistics.bootstrap_ci(np.repeat([0.0, 1.0], 20))
    assert alone[0] > 0.3 and alone[1] < 0.7  # forty cases on their own are surer than
    assert statistics.bootstrap_ci(np.repeat([0.0, 1.0], 20), groups=np.repeat(["a", "b"], 20)) == (0.0, 1.0)  # two patients


def test_a_patient_with_many_scans_weighs_as_many():
    """Patients with one scan of 1 and three of 0: the resamples' means are 1, ¼ and 0, never ½ as of patients weighed alike."""

    def how_often(mean):
        def is_it(total, cases):
            return 1.0 * (np.abs(total / cases - mean) < 1e-9)

        return statistics.bootstrap_ci([1.0, 0.0, 0.0, 0.0], is_it, list("abbb"))

    assert [how_often(mean) for mean in (1, 0.25, 0)] == [(0.0, 1.0)] * 3 and how_often(0.5) == (0.0, 0.0)


def test_every_case_a_patient_is_the_plain_bootstrap():
    values = np.random.default_rng(0).random(12)
    drawn = np.random.default_rng(statistics.SEED).integers(0, 12, (statistics.RESAMPLES, 12))
    plain = np.percentile(values[drawn].mean(1), [2.5, 97.5])
    assert statistics.bootstrap_ci(values) == pytest.approx(plain) == statistics.bootstrap_ci(values, groups=[f"{k:02}" for k in range(12)])


def test_scipys_interval_is_the_same():
    """Sums and counts of patients, paired; and where a resample has no value, scipy has no interval."""
    rng = np.random.default_rng(3)
    whose, values = rng.integers(0, 12, 40), rng.integers(1, 9, (40, 2)).astype(float)
    sums, cases = (np.stack([a[whose == k].sum(0) for k in np.unique(whose)]) for a in (values, np.ones(40)))

    def of(*samples, statistic):
        how = {"n_resamples": statistics.RESAMPLES, "method": "percentile", "paired": True, "vectorized": True}
        return bootstrap(samples, statistic, **how, random_state=np.random.default_rng(statistics.SEED)).confidence_interval

    def one_by_other(a, b, axis):
        return a.sum(axis) / b.sum(axis)

    means = of(sums[:, 0], cases, statistic=one_by_other)
    assert statistics.bootstrap_ci(values[:, 0], groups=whose) == pytest.approx(tuple(means), rel=1e-14)
    ratios = of(*sums.T, statistic=one_by_other)
    assert statistics.bootstrap_ci(values, statistics.ratio, whose) == pytest.approx(tuple(ratios), rel=1e-14)
    hits, lesions = np.array([[0.0, 0.0, 1.0, 2.0], [0.0, 0.0, 2.0, 2.0]])
    with np.errstate(invalid="ignore"), pytest.warns(RuntimeWarning):
        assert np.isnan(of(hits, lesions, statistic=one_by_other)).all()
    assert statistics.bootstrap_ci(np.stack([hits, lesions], 1), statistics.ratio) == (0.5, 1)


def test_one_patient_gives_no_interval():
    assert np.isnan(statistics.bootstrap_ci([0.2, 0.4], groups=["a", "a"])).all()
    keys = statistics.mean_with_ci("x", [0.2, np.nan, 0.4], "a rule", ["a", "b", "a"])
    assert keys["x.mean"] == pytest.approx(0.3) and np.isnan(keys["x.low"]) and keys["x.left_out"] == 1


def test_whose_each_case_is():
    cases = pd.DataFrame({"case": ["v1", "v2", "v3"], "group": ["p", "p", ""]})
    assert statistics.patients(cases).tolist() == ["p", "p", "v3"]
    assert statistics.patients(cases[["case"]]).tolist() == ["v1", "v2", "v3"]
