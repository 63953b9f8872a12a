from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from ropewalk.errors import UserError
from ropewalk.scaling.cells import model_name, read_cell, read_cells


def of(folders, kinds=("nll", "copying")):
    return [folder / kind for folder in folders for kind in kinds]


def test_a_cell_knows_its_setting(make_cell):
    cell = read_cell(make_cell(1e6, 700, tune_length=256, seed=3, log_scaled=True) / "nll")
    setting = cell.setting
    assert (setting.rotary_dim, setting.base, setting.train_length) == (64, 1e4, 128)
    assert (setting.tune_length, setting.new_base, cell.steps, cell.run) == (256, 1e6, 300, ("model", 3))
    assert cell.log_scaling
    assert cell.name == "model_base-1000000_length-256_steps-300_log-scaled_seed-3"
    assert cell.curves.full.shape == (12, 2047)


def test_cells_are_ordered_and_must_belong_together(make_cell):
    folders = [make_cell(1e6, 700), make_cell(20, 300), make_cell(1e6, 700, seed=1)]
    assert [cell.run.seed for cell in read_cells(of(folders))] == [0, 0, 1]
    assert read_cells(of(folders))[0].setting.new_base == 20
    with pytest.raises(UserError, match="two folders hold the cell model_base-20_"):
        read_cells(of([folders[1], folders[1]]))
    with pytest.raises(UserError, match="were measured on different texts"):
        read_cells(of([folders[0], make_cell(1e5, 300, documents=5)]))


def change(folder, **values) -> None:
    path = folder / "nll/nll.parquet"
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"ropewalk"]) | values
    pq.write_table(table.replace_schema_metadata({b"ropewalk": json.dumps(about).encode()}), path)


def test_models_that_were_not_tuned_here_or_by_other_methods_are_refused(make_cell):
    folder = make_cell(1e6, 700)
    change(folder, training=None)
    with pytest.raises(UserError, match=r"the model folder:model-1e\+06-128-0-300 was not made by `ropewalk tune`"):
        read_cell(folder / "nll")
    other = make_cell(1e5, 700)
    about = json.loads(pq.read_table(other / "nll/nll.parquet").schema.metadata[b"ropewalk"])
    about["rope"]["steps"] = [{"method": "yarn", "params": {"factor": 4}}]
    change(other, rope=about["rope"])
    with pytest.raises(UserError, match=r"was made by yarn; a sweep is of changes of the base"):
        read_cell(other / "nll")


def test_a_window_of_another_length_and_short_texts_are_refused(make_cell):
    folder = make_cell(1e6, 700)
    change(folder, options={"window": 16})
    with pytest.raises(UserError, match="read with a window of 16 tokens; expected the tuning length, 128"):
        read_cell(folder / "nll")
    short = make_cell(1e5, 700, tune_length=2048)
    with pytest.raises(UserError, match="texts of 2048 tokens; expected longer ones than the tuning length, 2048"):
        read_cell(short / "nll")
    with pytest.raises(UserError, match="a sweep has at least one cell"):
        read_cells([])


def test_several_models_make_one_sweep_where_their_tables_and_sizes_agree(make_cell):
    folders = [make_cell(1e6, 700), make_cell(1e6, 650, model="other"), make_cell(1e5, 300)]
    assert [cell.run for cell in read_cells(of(folders))] == [("model", 0), ("model", 0), ("other", 0)]
    about = json.loads(pq.read_table(folders[2] / "nll/nll.parquet").schema.metadata[b"ropewalk"])
    change(folders[2], training={**about["training"], "weights": "changed"})
    with pytest.raises(UserError, match="the model model of .*_base-1000000_.* has other weights"):
        read_cells(of(folders))
    change(folders[2], training=about["training"], parameters=7)
    with pytest.raises(UserError, match="are models of different shapes"):
        read_cells(of(folders))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("folder:results/models/small_seed-0", "small_seed-0"),
        ("hub:big/Model-1B", "Model-1B"),
        ("gguf:a/b.gguf", "b.gguf"),
    ],
)
def test_a_model_is_called_by_the_last_part_of_its_source(source, name):
    assert model_name(source) == name


def test_a_model_measured_with_another_table_is_refused(make_cell):
    folder, other = make_cell(1e6, 700), make_cell(1e5, 400)
    about = json.loads(pq.read_table(other / "nll/nll.parquet").schema.metadata[b"ropewalk"])
    change(folder, rope=about["rope"])
    with pytest.raises(UserError, match="tuned with another table"):
        read_cell(folder / "nll")


def test_what_was_copied_belongs_to_the_cell_of_its_model_and_rope(make_cell):
    folders = [make_cell(20, 300, copied=16), make_cell(20, 300, copied=64, log_scaled=True), make_cell(1e6, 700)]
    # In any order, and one model with two ropes.
    readings = [*of(folders[::-1], ("copying",)), *of(folders, ("nll",))]
    cells = read_cells(readings)
    assert [(cell.setting.new_base, cell.log_scaling) for cell in cells] == [(20, False), (20, True), (1e6, False)]
    copied = [cell.copying.groupby("gap")["accuracy"].mean() for cell in cells]
    assert [int(accuracy[accuracy == 1].index.max()) for accuracy in copied] == [16, 64, 64]
    assert [cell.copying for cell in read_cells(of(folders, ("nll",)))] == [None] * 3
    [bare, other, _] = read_cells([*of(folders, ("nll",)), folders[1] / "copying"])
    assert bare.copying is None
    assert other.copying is not None
    with pytest.raises(UserError, match="a sweep has at least one cell"):
        read_cells(of(folders, ("copying",)))
