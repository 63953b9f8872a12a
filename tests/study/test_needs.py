from __future__ import annotations

from ropewalk.corpora.options import Need
from ropewalk.study import read_study
from ropewalk.study.needs import needs_of
from ropewalk.study.questions import questions_name, questions_of

SHAPE = {"hidden_size": 32, "layers": 1, "heads": 1, "kv_heads": 1, "intermediate_size": 32, "length": 128}
STUDY = {
    "name": "needs",
    "factor": 4,
    "corpora": {"books": {"source": "package:books"}, "laws": {"source": "package:government"}},
    "models": {"small": {"shape": SHAPE, "pretraining": {"steps": 1, "learning_rate": 1e-3}}},
    "ropes": {"none": "default", "yarn": "yarn"},
    "readings": {
        "perplexity": {
            "kind": "nll",
            "of": [{"models": ["small"], "ropes": ["none", "yarn"]}],
            "corpora": ["books"],
            "options": {"read_to": 512, "documents": 7},
            "report": {"lengths": [128, 512], "reference": "none"},
        },
        "facts": {
            "kind": "needle",
            "of": [{"models": ["small"], "ropes": ["yarn"]}],
            "options": {"lengths": [256, 384], "samples": 5, "by": "nll"},
        },
        "questions": {
            "kind": "leval",
            "of": [{"models": ["small"], "ropes": ["yarn"]}],
            "options": {"data": "hub:L4NLP/LEval", "revision": "abc", "context": 4096},
        },
    },
    "tunings": {
        "tuned": {
            "models": ["small"],
            "ropes": ["yarn"],
            "corpora": ["laws"],
            "regimes": {"long": {"length": 512, "steps": 1, "batch_tokens": 512}},
            "options": {"learning_rate": 1e-3},
            "read_as": None,
        }
    },
    "searches": {
        "found": {
            "models": ["small"],
            "factors": [4],
            "kinds": [{"sampler": "sobol", "space": "ramp"}],
            "options": {"documents": 3, "budget": 10},
            "rivals": ["yarn"],
            "test_documents": 2,
        }
    },
}


def test_a_corpus_must_have_what_the_rows_will_ask_for():
    study = read_study(STUDY)
    searched = [Need("search", 512, 3), Need("selection", 512, 3), Need("test", 512, 2)]
    facts = Need("test", 384, 3)
    assert set(needs_of(study, "byte/books")) == {*searched, facts, Need("test", 512, 7), Need("train", 128, 1)}
    assert set(needs_of(study, "byte/laws")) == {*searched, facts, Need("train", 128, 1), Need("train", 512, 1)}


def test_questions_of_the_hub_have_a_folder_of_their_own():
    study = read_study(STUDY)
    [name] = questions_of(study)
    assert name == "L4NLP--LEval@abc"
    assert questions_of(study)[name].data == "hub:L4NLP/LEval"
    assert [row.id for row in study.readings.values() if questions_name(row)] == ["questions_small_yarn"]
