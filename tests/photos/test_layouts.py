"""Each way in which people keep photos is read as meant, or the run stops with a question."""

import os
from functools import cache

import pytest

from photos import layouts
from photos.readme_table import README

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows allows no backslash in the name of a file")


@pytest.fixture(scope="module")
def outcome_of(tmp_path_factory):
    return cache(lambda case: layouts.run(case, tmp_path_factory.mktemp("layouts") / "case"))


@pytest.mark.parametrize("case", layouts.ALL, ids=lambda case: case.about)
def test_read_as_meant_or_asked(case, outcome_of):
    outcome = outcome_of(case)
    if case.asks:
        assert outcome.prepared is None and "LABELS" in outcome.question
        return
    assert outcome.prepared is not None, outcome.question
    photos = outcome.prepared.photos.set_index("original")
    assert dict(photos["label"]) == {name: label for name, (label, _) in case.used.items()}
    given = {split for _, split in case.used.values() if split} - {"train"}
    for name, (_, split) in case.used.items():
        if split in given:
            assert photos.loc[name, "split"] == split, name
    assert set(case.unused) <= set(outcome.prepared.skipped["original"])
    assert outcome.prepared.found == len(photos) + len(outcome.prepared.skipped)


def test_the_table_in_the_readme_is_what_happens(outcome_of):
    readme = README.read_text(encoding="utf-8")
    assert layouts.TABLE.in_readme(layouts.table(outcome_of)) == readme, "see the first lines of layouts.py"
