"""The ruler of transfer: networks are asked once, numbers are hand-derived, rules are chosen elsewhere."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from known_networks import RULES, Says, loaded

from helpers import files
from helpers.cascade import inference, pipeline, weights
from helpers.comparing import answers, disturbances, rule_trials, sites, transfer
from helpers.scans.volume import Volume


def remembering(file, weights_hash="w", **rules):
    """Networks whose answers are known, with answers kept in a file."""
    return {stage: replace(n, network=answers.Remembering(n, weights_hash, file)) for stage, n in loaded(**rules).items()}


def asked(networks):
    return {stage: trained.network.asked for stage, trained in networks.items()}


class TestAnswers:
    def test_a_cascade_decides_as_without_and_asks_once(self, tmp_path, scan):
        gate = {"gate": lambda grey: grey > 90}
        plain = pipeline.segment(scan, loaded(**gate), RULES, True)
        first, second = (remembering(tmp_path / "a", **gate) for _ in range(2))
        for networks in (first, second):  # the second as after a kill: the file alone has stayed
            result = pipeline.segment(scan, networks, RULES, True)
            assert np.array_equal(result.labels, plain.labels) and (result.labels == 2).any()
            for organ in ("liver", "tumour"):
                assert np.array_equal(result.probability[organ], plain.probability[organ])
            assert result.log.gate_probability == plain.log.gate_probability
        tumour = 10 + 3 * 4  # the lesion lies in three slices, a speck in one more: these are looked at again, mirrored
        assert asked(first) == {"gate": 20, "liver": 14, "tumour": tumour} and not any(asked(second).values())

    def test_later_rules_ask_nobody_and_an_earlier_one_only_who_looks_elsewhere(self, tmp_path, scan):
        networks = remembering(tmp_path / "a")
        pipeline.segment(scan, networks, RULES)
        before = asked(networks)
        pipeline.segment(scan, networks, replace(RULES, tumour_threshold=0.1, min_lesion_ml=0.0))
        assert asked(networks) == before
        pipeline.segment(scan, networks, replace(RULES, neighbour_mm=20.0))  # other slices beside each
        assert asked(networks)["liver"] == 2 * before["liver"]

    def test_other_weights_answer_themselves(self, tmp_path, scan):
        pipeline.segment(scan, remembering(tmp_path / "a"), RULES)
        others = remembering(tmp_path / "a", "v", liver=lambda grey: grey > 300)
        assert pipeline.segment(scan, others, RULES).log.outcome == "no liver found"

    def test_every_level_comes_back_as_it_went(self, tmp_path):
        trained = loaded()["liver"]
        trained.network = Levels()
        planes = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
        levels = inference.answers(trained, planes)
        assert len(np.unique(levels)) > 200
        kept = replace(trained, network=answers.Remembering(trained, "w", tmp_path / "a"))
        for _ in range(2):
            assert np.array_equal(inference.answers(kept, planes), levels)

    def test_nan_is_an_error_and_is_not_kept(self, tmp_path):
        trained = loaded()["liver"]
        trained.network = Levels(np.nan)
        kept = replace(trained, network=answers.Remembering(trained, "w", tmp_path / "a"))
        for _ in range(2):
            with pytest.raises(FloatingPointError, match="the liver network gives NaN"):
                inference.answers(kept, np.zeros((1, 1, 16, 16), np.uint8))


class Levels(Says):
    """A logit that grows with the grey value, or is always the same."""

    def __init__(self, logit=None):
        super().__init__(None)
        self.logit = logit

    def forward(self, x):
        return torch.logit(x.clamp(1e-4, 1 - 1e-4)) if self.logit is None else x * 0 + self.logit


@pytest.fixture
def hospital(tmp_path, scan):
    """A folder with three scans: a liver with tumour, a body without liver, and one without a mask."""
    folder = tmp_path / "scans"
    folder.mkdir()
    empty = replace(scan, hu=np.zeros_like(scan.hu))
    for number, volume in enumerate((scan, empty, scan)):
        save(folder / f"volume-{number}.nii.gz", volume.hu)
        if number < 2:
            save(folder / f"segmentation-{number}.nii.gz", reference(volume))
    return folder


def save(path, array):
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0)[:, ::-1], np.diag([-1.0, 1.0, 2.0, 1.0])), path)


def reference(scan):
    """Liver and lesion as they are, and half of the tumour where no network sees any liver."""
    labels = (scan.hu == 100).astype(np.uint8)
    labels[8:11, 20:28, 20:28] = labels[8:11, 20:28, 20:28] | 2 * (scan.hu[8:11, 20:28, 20:28] == 200)
    labels[0:3, 50:58, 50:58] = 2 if labels.any() else 0
    return labels


class TestSites:
    def test_a_folder_gives_its_scans_with_masks_and_names_the_others(self, hospital, tmp_path):
        scans, without = sites.of_folder("there", hospital, tmp_path)
        assert [scan.case for scan in scans] == ["volume-0", "volume-1"] and without == ["volume-2"]
        volume, labels = scans[0].read()
        assert volume.spacing_mm == (2.0, 1.0, 1.0) and np.bincount(labels.ravel())[2] == 2 * 192
        (hospital / "groups.csv").write_text("case,group\nvolume-0,p\nvolume-1,p\n", encoding="utf8")
        assert [scan.group for scan in sites.of_folder("there", hospital, tmp_path)[0]] == ["p", "p"]

    def test_a_folder_without_masks_says_what_a_body_without_liver_needs(self, hospital, tmp_path):
        for mask in hospital.glob("segmentation-*"):
            mask.unlink()
        with pytest.raises(ValueError, match="none of its 3 scans has a mask; a body without liver"):
            sites.of_folder("there", hospital, tmp_path)

    def test_what_is_measured(self, hospital, tmp_path):
        scans, _ = sites.of_folder("there", hospital, tmp_path)
        rows = pd.DataFrame([row for scan in scans for row in sites.measured(scan, loaded(), {"as it is": RULES})])
        first, body = rows.iloc[0], rows.iloc[1]
        assert first.tumour_inside == 0.5 and first.tumour_dice == pytest.approx(2 * 192 / (192 + 384))
        assert (first.lesions, first.lesions_found_any, first.false_lesions) == (2, 1, 0)
        assert body.no_liver_found and body.liver_dice == 1 and np.isnan(body.tumour_inside)
        table = sites.by_site(rows).iloc[0]
        assert (table.scans, table.liver_scans, table.tumour_scans, table.no_liver_found_scans) == (2, 1, 1, 1)
        assert table.tumour == first.tumour_dice and table.no_liver_found == 1 and table.recall == 0.5
        assert table.false_ml == 0 and table.liver_ml == 0 and table.inside_least == 0.5


def trial_rows(**scores):
    """Rows of `rule_trials.measured` from setting -> {"site case": Dice}."""
    return pd.DataFrame([
        {"setting": setting.replace("_", " "), "site": key.split()[0], "case": key, "group": key, "tumour_dice": dice, "false_ml": np.nan}
        for setting, of_scan in scores.items() for key, dice in of_scan.items()
    ])


class TestRules:
    # b gains .4 on the one scan of y and loses .1 on each of the three of x
    ROWS = trial_rows(as_it_is={"x 1": 0.5, "x 2": 0.5, "x 3": 0.5, "y 4": 0.5}, b={"x 1": 0.4, "x 2": 0.4, "x 3": 0.4, "y 4": 0.9})

    def test_what_is_chosen_at_one_site_is_measured_at_the_other(self):
        folds = rule_trials.held_out(self.ROWS, "tumour_dice", [rule_trials.AS_IT_IS, "b"])
        assert folds.chosen.tolist() == ["b", rule_trials.AS_IT_IS]  # y alone chooses b; x alone doesn't
        assert folds.gain.tolist() == pytest.approx([-0.1, 0])
        assert rule_trials.mean_gain(folds) == pytest.approx(-0.075)  # three scans of four
        assert rule_trials.mean_gain(folds, "sites") == pytest.approx(-0.05)

    def test_sites_or_scans_count_equally_when_choosing(self):
        rows = pd.concat([self.ROWS, trial_rows(as_it_is={"z 5": 0.5}, b={"z 5": 0.6})])
        without_z = {how: rule_trials.held_out(rows, "tumour_dice", [rule_trials.AS_IT_IS, "b"], how).chosen.iloc[-1] for how in ("scans", "sites")}
        assert without_z == {"scans": "b", "sites": "b"}  # .1 of four scans; (−.1 + .4) / 2
        rows.loc[(rows.setting == "b") & (rows.case == "y 4"), "tumour_dice"] = 0.75
        without_z = {how: rule_trials.held_out(rows, "tumour_dice", [rule_trials.AS_IT_IS, "b"], how).chosen.iloc[-1] for how in ("scans", "sites")}
        assert without_z == {"scans": rule_trials.AS_IT_IS, "sites": "b"}  # −.05 of four scans; .15 of two sites

    def test_one_site_leaves_out_patients_and_one_patient_nothing(self):
        one = self.ROWS[self.ROWS.site == "x"]
        folds = rule_trials.held_out(one, "tumour_dice", [rule_trials.AS_IT_IS, "b"])
        assert len(folds) == 3 and not folds.gain.any()
        folds = rule_trials.held_out(self.ROWS, "tumour_dice", [rule_trials.AS_IT_IS, "b"], leave="patient")
        assert folds.chosen.tolist() == ["b", "b", "b", rule_trials.AS_IT_IS]  # y 4 outweighs any two of x
        assert rule_trials.mean_gain(folds) == pytest.approx(-0.075)
        with pytest.raises(ValueError, match="there is one"):
            rule_trials.held_out(one[one.case == "x 1"], "tumour_dice", [rule_trials.AS_IT_IS, "b"])

    def test_two_sites_may_use_one_name(self):
        alike = self.ROWS.assign(case="1", group="1").drop_duplicates(["setting", "site"])
        table = rule_trials.judged(alike, "tumour_dice").set_index("setting").loc["b"]
        assert (table.better, table.worse) == (1, 1) and table["difference"] == pytest.approx(0.15)

    def test_a_rule_is_judged_alone(self):
        table = rule_trials.judged(self.ROWS, "tumour_dice").set_index("setting").loc["b"]
        assert table["difference"] == pytest.approx(0.025) and (table.better, table.worse) == (1, 3)
        assert table.held_out == pytest.approx(-0.075) and table.chosen == "1 of 2"


class TestDisturbances:
    def volume(self, slices=4):
        hu = np.tile(np.int16([-40, 0, 100, 150, 160]), (slices, 2, 1)) + np.zeros((slices, 1, 1), np.int16)
        return Volume(hu, (3.0, 1.0, 1.0), np.eye(4), (5, 2, slices), "LPS")

    def test_what_a_window_cut_off_stays_cut_off(self):
        volume = self.volume()
        made = {name: v.hu[0, 0].tolist() for name, v, _ in disturbances.variants(volume, np.zeros(volume.hu.shape, np.uint8))}
        assert made["+40 HU"] == [-40, 40, 140, 160, 160] and made["−40 HU"] == [-40, -40, 60, 110, 160]
        assert "noise" not in made  # there is no liver to measure it by

    def test_noise_is_a_share_of_the_livers_deviation_and_the_same_each_time(self):
        hu = np.random.default_rng(1).normal(100, 20, (30, 40, 40)).astype(np.int16)
        volume = Volume(hu, (3.0, 1.0, 1.0), np.eye(4), (40, 40, 30), "LPS")
        labels = np.ones(hu.shape, np.uint8)
        first, second = ({name: v.hu for name, v, _ in disturbances.variants(volume, labels)}["noise"] for _ in range(2))
        assert (first - hu).std() == pytest.approx(6, rel=0.05) and np.array_equal(first, second)

    def test_other_slices_lie_where_they_lay(self):
        volume = self.volume()
        volume.hu[:] += (10 * np.arange(4, dtype=np.int16))[:, None, None]  # 10 HU in 3 mm
        labels = np.zeros(volume.hu.shape, np.uint8)
        labels[2] = 1
        thin, of_thin = disturbances.resampled(volume, labels, 1.5)
        assert thin.hu[:, 0, 1].tolist() == [0, 5, 10, 15, 20, 25, 30] and thin.spacing_mm == (1.5, 1.0, 1.0)
        assert of_thin[::2, 0, 0].tolist() == [0, 0, 1, 0]
        thick, of_thick = disturbances.resampled(volume, labels, 5.0)
        assert thick.hu[:, 0, 1].tolist() == [0, 17] and of_thick[:, 0, 0].tolist() == [0, 1]
        same, of_same = disturbances.resampled(volume, labels, 3.0)
        assert np.array_equal(same.hu, volume.hu) and np.array_equal(of_same, labels)


class TestCommand:
    @pytest.fixture(autouse=True)
    def known(self, own_root, monkeypatch):
        """A run "known" whose networks are known; `loads` says how often they were loaded."""
        (own_root / "checkpoints" / "known").mkdir(parents=True)
        self.loads = []

        def load(folder, file, device):
            self.loads.append(folder)
            file.parent.mkdir(exist_ok=True)
            return remembering(file)

        monkeypatch.setattr(answers, "load_networks", load)
        self.out = own_root / "reports" / "transfer"

    def transfer(self, *words):
        sets = ["--set", "min_liver_ml=1", "smooth_mm=0"]
        return transfer.main([*words, "--run", "known", "-o", str(self.out), *sets])

    def test_all_parts_of_a_page(self, hospital, capsys):
        site = f"--site=there={hospital}"
        self.out.parent.mkdir()
        trials = self.out.with_name("trials.csv")
        trials.write_text("date,note\n2026-01-01,\"old, kept\"\n", encoding="utf8")
        assert self.transfer(site, "--trial", "first") == 0
        assert "without a mask and left out: volume-2" in capsys.readouterr().err
        page = self.out.with_suffix(".md")
        page.write_text("A person's own words.\n" + page.read_text(encoding="utf8"), encoding="utf8")
        assert self.transfer(site, "scores", "choose", "robust", "--try", "tumour_threshold=0.4", "min_lesion_ml=0.2 smooth_mm=1") == 0
        text = page.read_text(encoding="utf8")
        assert text.startswith("A person's own words.\n# Transfer")
        assert [text.count(f"## {part}\n") for part in ("Scores", "Choose", "Robust")] == [1, 1, 1]
        scores = pd.read_csv(f"{self.out}-scores.csv").iloc[0]
        assert scores.inside == 0.5 and scores.no_liver_found == 1
        assert set(pd.read_csv(f"{self.out}-choose.csv").setting) == {"as it is", "tumour_threshold=0.4", "min_lesion_ml=0.2 smooth_mm=1"}
        assert set(pd.read_csv(f"{self.out}-robust-scans.csv").variant) == {"itself", "+40 HU", "−40 HU", "noise", "1.5 mm", "5 mm"}
        rows = pd.read_csv(trials, dtype=str, keep_default_na=False).to_dict("records")
        assert rows[0]["note"] == "old, kept" and rows[0]["there_liver"] == ""
        assert rows[1]["change"] == "first" and rows[1]["note"] == "weights of checkpoints/known; min_liver_ml=1 smooth_mm=0"
        assert rows[1]["there_inside"] == "0.5" and len(rows) == 2
        assert len(self.loads) == 2  # once a call, not once a scan

    def test_a_scan_that_cannot_be_read_costs_itself(self, hospital, capsys):
        broken = hospital / "volume-0.nii.gz"
        broken.write_bytes(broken.read_bytes()[:200])
        assert self.transfer(f"--site=there={hospital}") == 1
        assert "there volume-0: " in capsys.readouterr().err
        assert pd.read_csv(f"{self.out}-scores-scans.csv").case.tolist() == ["volume-1"]

    def test_nothing_is_chosen_by_one_patient(self, hospital, capsys):
        (hospital / "groups.csv").write_text("case,group\nvolume-0,p\nvolume-1,p\n", encoding="utf8")
        assert self.transfer("choose", f"--site=there={hospital}", "--try", "tumour_threshold=0.4") == 1
        assert "there is one" in capsys.readouterr().err

    @pytest.mark.parametrize("words, message", [
        (["--site", "nowhere"], "--site 'nowhere': write NAME="),
        (["--site", "a=/no/such/folder"], "no such folder"),
        (["--site", "a={0}", "--site", "a={0}"], "there is another site 'a'"),
        (["--site", "a={0}", "--try", "tumour_treshold=1"], "the cascade has no rule 'tumour_treshold'"),
        (["--site", "a={0}", "--run", "other"], "run 'other' has no checkpoints"),
    ])  # fmt: skip
    def test_what_cannot_be_meant(self, hospital, capsys, words, message):
        words = [word.format(hospital) for word in words]
        assert transfer.main(["--run", "known", *words]) == 2
        assert message in capsys.readouterr().err


def test_folds_are_judged_by_their_own_networks(tiny_run, tmp_path):
    """A run's validation scans; the trained networks answer from the file the second time."""
    out = tmp_path / "transfer"
    for _ in range(2):
        assert transfer.main(["--folds", "cv=tiny", "-o", str(out), "--set", "min_liver_ml=0"]) == 0
        rows = pd.read_csv(f"{out}-scores-scans.csv", dtype={"case": str})
        expected = [scan.case for scan in sites.of_folds("cv", [tiny_run])]
        assert rows.case.tolist() == expected and set(rows.site) == {"cv"}
    scan = sites.of_folds("cv", [tiny_run])[0]
    assert scan.weights == tiny_run.checkpoints and scan.row["run"] == "tiny"
    networks = answers.load_networks(tiny_run.checkpoints, tmp_path / "answers", "cpu")
    settings = {"as it is": pipeline.Rules(min_liver_ml=0.0)}
    (plain,) = sites.measured(scan, weights.load_networks(tiny_run.checkpoints, "cpu"), settings)
    (kept,) = sites.measured(scan, networks, settings)
    assert plain["liver_dice"] == kept["liver_dice"] and plain["tumour_prediction_ml"] == kept["tumour_prediction_ml"]
    assert files.short_hash(tiny_run.checkpoints / "liver" / "final.safetensors").encode() in networks["liver"].network.made_of
