"""What the cascade's rules took away stands in the scores with its slice, ml and reason."""

from helpers.scoring import attribution


def test_findings_and_organs_are_rows_the_largest_first():
    place = {"y": 1, "x": 2}
    log = {
        "dropped": [
            {"slice": 8, "ml": 0.04, "reason": "under 0.05 ml"} | place,
            {"slice": 3, "ml": 1.5, "reason": "outside the liver"} | place,
        ],
        "adjacent_organs": [{"volume_ml": 120.0, "hu": 30, "slice": 20} | place],
    }
    rows = attribution.dropped(log)
    assert [tuple(row.values()) for row in rows] == [
        ("liver", 20, 120.0, "another organ beside the liver"),
        ("tumour", 3, 1.5, "outside the liver"),
        ("tumour", 8, 0.04, "under 0.05 ml"),
    ]


def test_a_log_of_before_knows_of_none():
    assert attribution.dropped({"adjacent_organs": []}) == []
