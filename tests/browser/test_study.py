"""`report STUDY` on a finished study: the page, the proposal, and what it says where there is nothing to say."""

import json
import re

import pytest

from tests.browser.browser import DESKTOP, PHONE
from tests.browser.studies import made_up, planned, report
from vit_sweep.study.store import Study

LARGEST_PAGE = 3_000_000


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Twelve finished cells on 1 to 8 GPUs, three seeds."""
    return made_up(tmp_path_factory.mktemp("made_up"))


@pytest.fixture(scope="module")
def page(study):
    """Its report with everything that can be asked for."""
    answer = report(study, "--proposal", "--reference", "paper_cifar100")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.split() == [str(study.folder / name) for name in ("report.html", "proposal.md")]
    return (study.folder / "report.html").read_text()


def words(page, section):
    """The text of a section, without its markup."""
    body = re.search(
        rf'<section id="{section}".*?</section>\s*(?=<section id="[a-z]+"|<footer)', page, re.DOTALL
    ).group()
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_a_study_of_twelve_cells_makes_a_small_page(page):
    assert 50_000 < len(page.encode()) < LARGEST_PAGE


@pytest.mark.browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_browser_shows_it_all_without_a_complaint_or_a_network(browser, study, page, size):
    browser.open(study.folder / "report.html", size=size)
    browser.ask("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert browser.ask("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.complaints() == [] and browser.requests() == []
    wide, seen = browser.ask("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= seen == size[0]


def test_the_summary_answers_with_measured_counts(page):
    section = words(page, "summary")
    assert "12 of 12 cells are done." in page
    assert re.search(r"Which GPU count\? 8 GPUs", section) and re.search(r"How sure\? ±\d\.\d%", section)
    assert re.search(r"What does it cost\? 0\.03\d+ GPU-hours An epoch on 8 GPUs, which takes 15\.", section)
    assert "1 claim falls Not to be claimed: fixed problem (global batch grew)" in section
    assert re.search(r"Largest GPU count with an efficiency of 80% or more 8", section)
    assert 'alt="Line chart of speedup' in page


def test_the_planted_law_is_fitted_and_marked(page):
    section = words(page, "models")
    assert re.search(r"Amdahl .*?serial fraction = 0\.0(2[5-9]|3[0-5])\d* \[", section)
    assert "predicts left-out points best" in section
    # Four counts cannot hold the four parameters of the full model.
    assert re.search(r"latency-bandwidth model.*?Needs 5 GPU counts", section)


def test_tables_keep_intervals_and_say_equal_columns_once(page):
    strong = re.search(r'<section class="table-section" id="table-strong".*?</section>', page, re.DOTALL).group()
    assert 'data-column="speedup"' in strong and "data-low=" in strong
    assert 'data-column="precision"' not in strong and "<dt>precision</dt>" in strong
    # Bounds are no columns of their own.
    assert "speedup_low" not in strong


def test_the_published_curve_is_beside_and_its_audit_is_told(page):
    section = words(page, "reference")
    assert "arXiv:2602.21081" in section and "this study" in section
    assert "global batch grew" in section and "64 to 2048" in section


def test_the_study_is_named_by_commands_commit_and_digests(study, page):
    section = words(page, "reproduce")
    command = json.loads((study.folder / "study.json").read_text())["commands"][0]
    assert "gpus=1,2,4,8 seed=0,1,2" in section and (command["git_commit"] or "") in section
    assert re.search(r"all 12 records, sha256 [0-9a-f]{64}", section)
    assert "c0ffee" in section and "tables/strong.csv" in section
    for link in re.findall(r'<a href="([^"#]+)"', page):
        assert (study.folder / link).is_file()


def test_the_methods_are_filled_with_the_numbers_of_the_study(page):
    section = words(page, "methods")
    assert "12 runs with a time, on 1 to 8 GPUs" in section
    assert "Seeds: 0, 1, 2." in section and "torch 2.11" in section


def test_the_proposal_chooses_the_largest_count_that_keeps_the_threshold(study, page):
    text = (study.folder / "proposal.md").read_text()
    # 8 GPUs: 1 / (1 + 7 x 0.03) = 82.6 %; three runs of 8 x 3 epochs.
    row = next(line for line in text.splitlines() if line.startswith("| strong scaling") and "| 8 |" in line)
    assert re.search(r"\| 8 \| 1 \| 82\.\d+ ", row)
    picture = re.search(r"!\[.*\]\((.*)\)", text).group(1)
    assert (study.folder / picture).is_file()
    assert "Compute time proposal" in page


def test_a_threshold_moves_the_choice_and_a_report_elsewhere_leaves_the_one_in_the_study(study, page, tmp_path):
    before = (study.folder / "report.html").read_bytes()
    answer = report(study, "--proposal", "--threshold", "0.9", "--output", str(tmp_path / "page.html"))
    assert answer.returncode == 0, answer.stderr
    text = (tmp_path / "proposal.md").read_text()
    requested = text.split("## Requested resources")[1].split("##")[0]
    # 4 GPUs: 1 / (1 + 3 x 0.03) = 91.7 %.
    assert re.search(r"\| 4 \| 1 \| 9[12]\.", requested) and "| 8 |" not in requested
    assert (tmp_path / "page.html").exists() and (study.folder / "report.html").read_bytes() == before


def test_the_same_study_makes_the_same_page(study, page):
    assert report(study, "--proposal", "--reference", "paper_cifar100").returncode == 0
    again = (study.folder / "report.html").read_text()
    # The folder itself has grown by the first report.
    assert re.sub(r"folder</dt><dd>[^<]*", "", again) == re.sub(r"folder</dt><dd>[^<]*", "", page)


def test_a_study_without_a_finished_run_is_one_sentence_and_exit_1(tmp_path):
    study = planned(tmp_path, "gpus=1,2")
    answer = report(study)
    assert answer.returncode == 1
    assert "no run of study made_up has a time yet" in answer.stdout
    assert not (study.folder / "report.html").exists()


def test_one_gpu_count_and_a_damaged_record_are_said(tmp_path):
    study = made_up(tmp_path, "gpus=1,2", "seed=0", without=("-g2-",))
    other = next(study.folder.glob("cells/*-g2-*"))
    (other / "record.json").write_text("{")
    answer = report(study, "--proposal")
    assert answer.returncode == 0, answer.stderr
    page = (study.folder / "report.html").read_text()
    assert "1 of 2 cells is done, 1 missing." in page
    assert "1 cell or combination has no time." in words(page, "summary")
    assert "passed over" in words(page, "failures")
    assert "Needs 3 GPU counts" in words(page, "models")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--threshold", "80"), "--threshold 0.8"),
        (("--target", "50"), "--target 0.5"),
        (("--reference", "paper_cifar10"), "did you mean paper_cifar100?"),
        (("--output", "nowhere/page.html"), "name a file in a folder that there is"),
    ],
)
def test_a_mistake_is_one_sentence(study, given, message):
    answer = report(study, *given)
    assert answer.returncode == 2
    assert message in answer.stderr and answer.stderr.count("\n") == 1


def test_no_study_is_a_mistake(tmp_path):
    answer = report(Study(tmp_path))
    assert answer.returncode == 2 and "is not a study" in answer.stderr
