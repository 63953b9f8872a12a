"""Readings of found ropes and of those to beat, compared; and the report of them."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.models.configurations import load_config
from ropewalk.models.rope_reading import read_rope
from ropewalk.report.search import write_report
from ropewalk.rope import Rope, methods
from ropewalk.scores import Scores
from ropewalk.search.comparison import BY_HAND, read_comparison
from ropewalk.search.effort import first_below, replacing, rivals
from ropewalk.search.options import ProbeOptions, SearchReportOptions
from ropewalk.search.probe import probe
from ropewalk.search.standings import differences, resonant, standings, transfer

T2 = 4.302652729911275
"""Student's t with two degrees of freedom, two-sided at 95 %, from a table."""


def columns(rope, method, factor=4.0, search=None, seed=None):
    return {"reading": f"r-{rope}", "model": "dull", "rope": rope, "method": method, "factor": factor} | {
        "search": search,
        "seed": seed,
    }


@pytest.fixture(scope="module")
def everything(source, corpus, searches, tuned, tmp_path_factory):
    """Readings of ropes, and the searches of some of them."""
    root, table = tmp_path_factory.mktemp("readings"), read_rope(load_config(source))
    ropes = [(table, columns("plain", "none", None))]
    ropes += [(methods.apply(table, name, factor=4), columns(f"{name}_4x", name)) for name in ("ntk", "yarn", "pi")]
    for folder in [*searches, *tuned]:
        best = json.loads((folder / "best.json").read_text())["options"]
        named = columns(folder.name, f"{best['sampler']}/{best['space']}", 4.0, folder.name, best["seed"])
        ropes.append((Rope.load(folder / "rope.json"), named))
    options = ProbeOptions(factors=[2.0, 4.0], retrieval="none")
    for rope, named in ropes:
        probe(source, rope, {"text": corpus}, options, columns=named, folder=root / named["rope"])
    return [root / named["rope"] for _, named in ropes], [*searches, *tuned]


@pytest.fixture(scope="module")
def readings(everything):
    return everything[0][:-2]


@pytest.fixture(scope="module")
def three(everything, tmp_path_factory):
    """The same with three models, of which the second and third are known to be 0.1 and 0.4 nats worse with found ropes
    and a third of a nat worse with all; all searched alike."""
    root = tmp_path_factory.mktemp("models")
    readings, searches = list(everything[0]), list(everything[1])
    for number, worse in ((1, 0.1), (2, 0.4)):
        model = {"columns.model": f"model-{number}", "weights": f"weights-{number}"}
        for folder in everything[0]:
            copied = changed(folder, root / f"{folder.name}-{number}", **model)
            found = json.loads((copied / "reading.json").read_text())["columns"]["method"] in ("gp/ramp", "scan/groups")
            rows = pd.read_parquet(copied / "measured.parquet")
            rows["tail"] += 1 / 3 + worse * found
            rows.to_parquet(copied / "measured.parquet")
            readings.append(copied)
        for folder in everything[1]:
            searches.append(changed(folder, root / f"search-{folder.name}-{number}", "best.json", **model))
    return readings, searches


def test_a_comparison_reads_the_objective_on_unseen_documents(readings, searches):
    compared = read_comparison(readings, searches)
    assert (compared.factors, compared.lengths) == ([4.0], [2.0, 4.0])
    assert {kind[0] for kind in compared.kinds(4.0, "as coded")} == {"ntk", "yarn", "pi"}
    table = standings(compared, 4.0, 0.95).set_index("method")
    assert table.loc["yarn", "objective"] == 0
    assert table.loc["gp/ramp", "seeds"] == 2
    assert table.loc["gp/ramp", "objective_over"] == "documents and seeds"
    assert table.loc["pi", "objective_over"] == "documents"
    # The objective by hand: without answers, half of nothing and all of the tail, no more than 1.5 above.
    measured = compared.first.measured
    yarn, gp = (measured[measured["rope"] == name] for name in ("yarn_4x", "gp-ramp-4x-seed-0"))
    paired = gp[gp["at"] == 4].set_index("document")["tail"] - yarn[yarn["at"] == 4].set_index("document")["tail"]
    assert compared.values(("gp/ramp", 4.0), 4.0)[0][0].mean() == pytest.approx(paired.clip(upper=1.5).mean())
    searched = set(json.loads((searches[0] / "best.json").read_text())["documents"])
    assert not searched & {f"text/{document}" for document in gp["document"]}
    assert set(transfer(compared, 0.95)["against"]) <= {"none", "ntk 4x", "yarn 4x", "pi 4x"}


def test_each_rope_is_held_against_itself_with_whole_wavelengths(everything, tmp_path):
    """NTK in the place of a rounded YaRN, whose difference is known."""
    readings, searches = everything
    [ntk] = [folder for folder in readings if folder.name == "ntk_4x"]
    rounded = changed(ntk, tmp_path / "rounded", **{"columns.method": "resonance-yarn", "columns.rope": "rounded"})
    compared = read_comparison([*readings, rounded], searches)
    [row] = resonant(compared, 0.95).to_dict("records")
    table = standings(compared, 4.0, 0.95).set_index("method")
    assert (row["method"], row["factor"]) == ("yarn", 4.0)
    assert row["difference"] == pytest.approx(table.loc["ntk", "objective"] - table.loc["yarn", "objective"])
    assert resonant(read_comparison(readings, searches), 0.95).empty
    options = SearchReportOptions(experiment="search", confidence=0.9)
    write_report(searches, [*readings, rounded], options, tmp_path / "report")
    assert "Whole wavelengths" in (tmp_path / "report/search.html").read_text()
    assert len(pd.read_csv(tmp_path / "report/resonant.csv")) == 1


def test_another_reference_moves_the_zero(readings, searches):
    against = standings(read_comparison(readings, searches, reference="pi"), 4.0, 0.95).set_index("method")
    assert against.loc["pi", "objective"] == 0
    assert against.loc["yarn", "objective"] != 0


def test_found_ropes_are_held_against_the_best_of_coded_and_tuned_ones(everything):
    compared = read_comparison(*everything)
    table = standings(compared, 4.0, 0.95).set_index("method")
    assert table["group"].to_dict() == {
        "none": "as trained",
        **dict.fromkeys(("ntk", "yarn", "pi"), "as coded"),
        **dict.fromkeys(("grid/yarn", "grid/step"), BY_HAND),
        **dict.fromkeys(("gp/ramp", "scan/groups"), "found"),
    }
    made = table[table["group"].isin(["as coded", BY_HAND])]
    hardest = made["objective"].idxmin()
    assert set(table["against"].dropna()) == {hardest}
    less = differences(compared, 0.95).set_index(["method", "against"])["difference"]
    for other in (*made.index, "none"):
        wanted = table.loc["gp/ramp", "objective"] - table.loc[other, "objective"]
        assert less["gp/ramp", other] == pytest.approx(wanted)
    # Of the tuned ropes, that which the selection documents prefer, whatever the test documents say.
    selected = {}
    for folder in everything[1][-2:]:
        best = json.loads((folder / "best.json").read_text())
        [objective] = [one["objective"] for one in best["candidates"] if one["number"] == best["chosen"]]
        selected["grid/" + best["options"]["space"]] = objective
    assert less["gp/ramp", BY_HAND] == less["gp/ramp", min(selected, key=selected.get)]


def test_intervals_over_models_hold_what_differs_between_them(three):
    """Three models whose differences are d, d + 0.1 and d + 0.4 on every document: their mean is known."""
    compared = read_comparison(*three)
    assert [model.name for model in compared.models] == ["dull", "model-1", "model-2"]
    alone = read_comparison(three[0][: len(three[0]) // 3], three[1][: len(three[1]) // 3])
    one, all_ = (
        differences(each, 0.95).set_index(["method", "against"]).loc[("gp/ramp", "grid/yarn")]
        for each in (alone, compared)
    )
    assert all_["difference"] == pytest.approx(one["difference"] + 0.5 / 3, abs=1e-6)
    assert all_["difference_over"] == "documents, seeds and models"
    # At least as wide as models alone make it.
    spread = np.std([0, 0.1, 0.4], ddof=1) / math.sqrt(3)
    assert all_["difference_high"] - all_["difference"] > 0.7 * T2 * spread
    assert all_["difference_freedom"] >= 2


def test_seeds_are_counted_over_all_models(three, tmp_path):
    readings, searches = ([*each] for each in three)
    for folders, file in ((readings, "reading.json"), (searches, "best.json")):
        for place, folder in enumerate(folders):
            about = json.loads((folder / file).read_text())
            if about["weights"] == "weights-2" and about["columns"].get("seed") is not None:
                seed = {"columns.seed": 5 + about["columns"]["seed"]}
                folders[place] = changed(folder, tmp_path / file / folder.name, file, **seed)
    table = standings(read_comparison(readings, searches), 4.0, 0.95).set_index("method")
    assert table.loc["gp/ramp", "seeds"] == 4, "two in two models, two others in the third"


def test_a_model_that_cannot_answer_is_shown_and_counts_in_nothing(three, tmp_path):
    unable = {"answers": {"retrieval": "none", "asked": "copy", "accuracy": 0.2, "reason": "too few are right"}}
    able = {"answers": {"retrieval": "copy", "asked": "copy", "accuracy": 0.9, "reason": "answers count"}}
    folders: dict[str, list] = {"reading.json": [], "best.json": []}
    for file, given in zip(folders, three, strict=True):
        for folder in given:
            at_fault = json.loads((folder / file).read_text())["columns"].get("model") == "model-2"
            if file == "best.json":
                at_fault = json.loads((folder / file).read_text())["weights"] == "weights-2"
            told = unable if at_fault else able
            folders[file].append(changed(folder, tmp_path / file / folder.name, file, **told))
    compared = read_comparison(*folders.values())
    assert [model.name for model in compared.models] == ["dull", "model-1"]
    write_report(
        folders["best.json"],
        folders["reading.json"],
        SearchReportOptions(experiment="s", confidence=0.95),
        tmp_path / "r",
    )
    page = (tmp_path / "r/search.html").read_text()
    assert "<b>model-2 counts in no interval</b>: too few are right." in page
    assert "2 of 3 models count" in page
    scores = Scores.read(tmp_path / "r/scores.json")
    assert {row.model: row.value for row in scores.select(quantity="competence")} == {
        "dull": 0.9,
        "model-1": 0.9,
        "model-2": 0.2,
    }
    assert scores.setting["competence_needed"] == 0.5
    assert {row.n_models for row in scores.select(quantity="difference")} == {2}


def test_how_many_evaluations_replace_tuning_by_hand(everything):
    compared = read_comparison(*everything)
    table = replacing(compared, 0.95).set_index(["method", "against"])
    grids = {s.contestant.method: s for s in compared.first.searches if s.contestant.group == BY_HAND}
    assert table.loc[("gp/ramp", BY_HAND), "by_hand"] == sum(len(grid.trials) for grid in grids.values())
    row = table.loc[("gp/ramp", "grid/yarn")]
    assert row["by_hand"] == len(grids["grid/yarn"].trials)
    level = grids["grid/yarn"].best["objective"] + 0.02
    until = []
    for seed in (0, 1):
        best = compared.first.searched(("gp/ramp", 4.0))[seed].trials["best"].tolist()
        until.append(next((n for n, value in enumerate(best, start=1) if value <= level), math.inf))
    assert row["reached"] == np.mean(np.isfinite(until))
    wanted = math.sqrt(math.prod(until)) if np.isfinite(until).all() else np.median(until)
    assert row["evaluations"] == pytest.approx(wanted)


def test_the_trial_that_is_first_below_a_level():
    trials = pd.DataFrame({"best": [math.nan, 0.3, 0.1, 0.1]})
    assert [first_below(trials, level) for level in (0.5, 0.1, 0.05)] == [2, 3, math.inf]


def test_searches_are_compared_at_equal_trials_documents_and_seconds(everything):
    """The second method is ahead at equal trials and behind at equal documents, of which it reads twice as many."""
    compared = read_comparison(*everything)
    for search in compared.first.searches:
        trials, slow = search.trials, search.contestant.method == "scan/groups"
        trials["documents"] = 8 if slow else 4
        trials["seconds_measuring"], trials["seconds_proposing"] = (1.0, 0.5 if slow else 0.0)
        trials["best"] = (-1.1 if slow else -1.0) * np.linspace(0.1, 1, len(trials))
    row = rivals(compared, 0.95).set_index("method").loc["scan/groups"]
    assert row["trials"] == 18
    assert (row["documents"], row["seconds"], row["proposing"]) == (144, 27, 9)
    steps = np.linspace(0.1, 1, 18)
    assert row["equal_trials"] == pytest.approx(-0.1)
    assert row["equal_documents"] == pytest.approx(1 - 1.1 * steps[8])
    assert row["equal_seconds"] == pytest.approx(1 - 1.1 * steps[11])


def test_the_report_has_every_table_and_figure(everything, tmp_path):
    readings, searches = everything
    write_report(searches, readings, SearchReportOptions(experiment="search", confidence=0.9), tmp_path / "report")
    page = (tmp_path / "report/search.html").read_text()
    for words in (
        "ORoPE-style",
        "At 4 times the training length",
        "scan/groups",
        "90 %",
        "2 seeds",
        "found for 4x",
        "tuned by hand",
        "How many evaluations replace tuning by hand?",
        "lie on a bound of their space",
    ):
        assert words in page
    for name in ("convergence", "replacing", "optimum", "plane", "price", "importances"):
        assert (tmp_path / f"report/{name}.png").stat().st_size > 10_000
    scores = Scores.read(tmp_path / "report/scores.json")
    assert scores.setting["parameters"] > 10_000
    table = pd.read_csv(tmp_path / "report/rivals.csv").set_index("method")
    difference = scores.one(quantity="tested_difference", method="scan/groups", against="first method")
    assert difference.value == pytest.approx(
        table.loc["scan/groups", "tested"] - table.loc["gp/ramp", "tested"], abs=1e-5
    )
    assert (difference.over, difference.n_seeds, difference.n_models) == ("documents and seeds", 2, 1)
    [moved] = scores.select(quantity="difference", method="gp/ramp", at=2.0)
    assert moved.low < 2
    assert scores.one(quantity="by_hand", method="gp/ramp", against="grid/step", factor=4.0).value > 1


def test_a_report_of_another_reference_names_it(everything, tmp_path):
    readings, searches = everything
    options = SearchReportOptions(experiment="search", confidence=0.9, reference="pi")
    write_report(searches, readings, options, tmp_path / "report")
    page = (tmp_path / "report/search.html").read_text()
    assert "each against pi as coded" in page
    assert "nats against pi" in page
    assert "nats against YaRN" not in page


def changed(folder, target, file="reading.json", **changes):
    """A copy whose file says something else; keys below the first are joined by dots."""
    shutil.copytree(folder, target)
    content = json.loads((target / file).read_text())
    for keys, value in changes.items():
        *outer, last = keys.split(".")
        place = content
        for key in outer:
            place = place[key]
        place[last] = value
    (target / file).write_text(json.dumps(content))
    return target


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "other"}, "are readings of different weights; expected the same"),
        ({"options.seed": 7}, "are readings of different seed; expected the same"),
        ({"answers.retrieval": "copy"}, "are readings of different answers; expected the same"),
        ({"options.factors": [2.0]}, "are readings of different factors; expected the same"),
        ({"columns.rope": "ntk_4x"}, "two readings are of ntk_4x"),
        ({"columns.method": "ntk"}, "2 readings are of ntk at 4x; expected one of each method made by hand"),
        ({"columns.method": "mine"}, "no reading is of yarn at 4x; expected"),
        ({"columns.model": "other"}, "no reading is of yarn at 4x; expected"),
    ],
)
def test_readings_that_do_not_belong_together(readings, searches, tmp_path, changes, said):
    yarn = changed(readings[2], tmp_path / "yarn", **changes)
    with pytest.raises(UserError, match=said):
        read_comparison([*readings[:2], yarn, *readings[3:]], searches)


def test_readings_of_other_documents(readings, searches, tmp_path):
    shutil.copytree(readings[2], tmp_path / "yarn")
    pd.read_parquet(readings[2] / "measured.parquet")[:-1].to_parquet(tmp_path / "yarn/measured.parquet")
    with pytest.raises(UserError, match="are readings of different documents"):
        read_comparison([readings[0], tmp_path / "yarn"], searches)


def test_searches_that_have_no_part_in_readings(readings, searches, tmp_path):
    with pytest.raises(UserError, match="expected what a search found"):
        read_comparison(readings, [tmp_path])
    with pytest.raises(UserError, match="expected some of both"):
        read_comparison(readings, [])
    with pytest.raises(UserError, match="none of the readings of dull is of the rope of pre-training"):
        read_comparison(readings[1:], searches)
    with pytest.raises(UserError, match="no reading is of the rope that it found"):
        write_report(
            searches, readings[:-1], SearchReportOptions(experiment="search", confidence=0.95), tmp_path / "report"
        )
    assert not (tmp_path / "report").exists()
    for changes, said in (
        ({"columns.search": "other"}, "no reading is of the rope that it found; read it again"),
        ({"weights": "other"}, "searched on another model than"),
        ({"answers.retrieval": "copy"}, "has the answers copy, the readings have none; expected the same"),
    ):
        other = changed(searches[0], tmp_path / said[:10], "best.json", **changes)
        with pytest.raises(UserError, match=said):
            read_comparison(readings, [other])
