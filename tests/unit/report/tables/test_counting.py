"""Tables say pairs where runs learn from pairs; names of columns stay, for programs."""

from tests.unit.analysis.builders import run
from tests.unit.report.tables.test_tables import tables

PAIRS = {"task": "contrastive"}


def headings(made):
    return {column.name: (column.title, column.unit) for column in made.columns}


def test_what_learns_from_pairs_counts_pairs_in_every_table():
    made = tables([run(1, conditions=PAIRS), run(2, conditions=PAIRS)])
    strong = headings(made["strong"])
    assert (strong["images_per_s"], strong["images_per_s_low"]) == (("pairs/s", "pairs/s"), ("pairs/s, low", "pairs/s"))
    assert (strong["work"], strong["batch"]) == (("pairs", "pairs"), ("batch", "pairs"))
    assert "the same pairs" in made["strong"].title
    assert headings(made["cost"])["images_per_joule"] == ("pairs/J", "pairs/J")
    assert made["strong"].column("images_per_s").meaning.startswith("Pairs through the model")
    assert headings(made["runs"])["images_per_s"][1] == "pairs/s"


def test_others_count_images_and_a_study_of_both_says_which_rows_count_pairs():
    images = run(1, conditions={"task": "classification"})
    assert headings(tables([images])["strong"])["images_per_s"] == ("images/s", "images/s")
    assert tables([images])["strong"].notes == ()
    both = tables([images, run(1, conditions=PAIRS, run_id="pairs")])["strong"]
    assert headings(both)["images_per_s"] == ("images/s", "images/s")
    assert "rows of task=contrastive count image-caption pairs where columns say images" in both.notes
