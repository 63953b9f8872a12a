from __future__ import annotations

import pytest

from ropewalk.errors import UserError
from ropewalk.files import claim_state, read_json, whole_file, whole_folder, whole_lines, write_json


def test_a_failed_write_keeps_what_was_there_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"x": 1})
    sentence = r"a\.json cannot be written: no space is left on its disk"
    with pytest.raises(UserError, match=sentence), whole_file(target) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert read_json(target, "numbers") == {"x": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder"
    with whole_folder(target) as temporary:
        (temporary / "old").write_text("1")
    with pytest.raises(RuntimeError), whole_folder(target) as temporary:
        (temporary / "new").write_text("2")
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["old"]
    with whole_folder(target) as temporary:
        (temporary / "new").write_text("2")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_damaged_and_missing_json_are_named(tmp_path):
    (tmp_path / "bad.json").write_text('{"x": ')
    with pytest.raises(UserError, match=r"bad\.json is damaged or not a rope"):
        read_json(tmp_path / "bad.json", "a rope")
    with pytest.raises(UserError, match=r"none\.json: no such file; expected a rope"):
        read_json(tmp_path / "none.json", "a rope")


def test_a_state_folder_is_kept_for_the_same_work_and_begun_anew_for_another(tmp_path):
    state = tmp_path / "state"
    claim_state(state, {"seed": 0, "folder": tmp_path})
    (state / "step-1").write_text("far")
    claim_state(state, {"folder": tmp_path, "seed": 0})
    assert (state / "step-1").is_file()
    claim_state(state, {"seed": 1})
    assert [path.name for path in state.iterdir()] == ["identity.json"]
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("precious")
    with pytest.raises(UserError, match="thesis holds other files; expected a new folder"):
        claim_state(foreign, {"seed": 0})
    assert (foreign / "chapter.txt").read_text() == "precious"


def test_lines_are_read_up_to_the_torn_one(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert whole_lines(path) == []
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a"')
    assert whole_lines(path) == [{"a": 1}, {"a": 2}]
    path.write_bytes(b'{"a": 1}\n{"a":\n{"a": 3}\n')
    assert whole_lines(path) == [{"a": 1}], "nothing behind a tear is trusted"
