from __future__ import annotations

import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.files import write_json
from ropewalk.reading.nll_file import write_nll
from ropewalk.report.rows import columns, header, named

ROWS = pd.DataFrame({"corpus": ["c"], "document": ["d"], "position": [1], "nll": [1.0], "pass_length": [2]})


@pytest.fixture
def make(tmp_path):
    """Write a reading of NLL or of another kind with some columns."""

    def reading(name, *, nll=False, **columns):
        about = {"columns": columns, "model": "folder:m", "rope": {"some": "rope"}, "options": {"seed": 3}}
        folder = tmp_path / name
        folder.mkdir()
        if nll:
            write_nll(folder / "nll.parquet", ROWS, about)
        else:
            write_json(folder / "reading.json", about)
        return folder

    return reading


@pytest.mark.parametrize("nll", [True, False])
def test_a_reading_says_what_made_it(make, nll):
    folder = make("one", nll=nll, rope="yarn", seed=4)
    found = header(folder)
    assert found == {
        "columns": {"rope": "yarn", "seed": 4},
        "model": "folder:m",
        "rope": {"some": "rope"},
        "options": {"seed": 3},
    }
    assert columns([folder, folder]) == [found["columns"]] * 2


def test_readings_are_called_by_what_tells_them_apart_in_their_order(make):
    tuned = {"rope": "yarn", "tuned_rope": "yarn", "regime": "long"}
    folders = [
        make("a", nll=True, rope="yarn", base_model="fresh"),
        make("b", rope="none", base_model="fresh"),
        make("c", **tuned, seed=1, base_model="fresh"),
    ]
    assert list(named(folders).items()) == list(zip(["yarn", "none", "yarn_long_seed-1"], folders, strict=True))
    other = make("d", rope="yarn", base_model="big")
    assert list(named([folders[0], other])) == ["fresh_yarn", "big_yarn"]


def test_two_readings_of_one_name_are_refused(make):
    folders = [make(name, rope="yarn") for name in "abc"]
    with pytest.raises(UserError, match="3 readings are called 'yarn'; expected different ones"):
        named(folders)


def test_a_folder_that_is_no_reading_is_named(make, tmp_path):
    with pytest.raises(UserError, match=r"reading\.json.*the header of a reading"):
        header(tmp_path)
    with pytest.raises(UserError, match="nameless: the reading does not say its rope; expected one of `ropewalk read"):
        header(make("nameless", model="m"))
    damaged = make("damaged", nll=True, rope="yarn")
    (damaged / "nll.parquet").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"nll\.parquet is damaged"):
        header(damaged)
    ROWS.to_parquet(damaged / "nll.parquet")
    with pytest.raises(UserError, match="damaged: the reading does not say its rope"):
        header(damaged)
