"""schemathesis against a real server: what it does is what its OpenAPI document says."""

from collections import Counter
from pathlib import Path

from tests.service.schema.runs import accepted, run
from tests.service.serving import Server

BY_OPERATION = ("--phases", "examples,coverage,fuzzing")


def test_every_answer_to_good_and_bad_requests_is_one_that_the_document_tells(
    fuzzed: Server, tmp_path: Path
):
    answers = run(fuzzed, tmp_path, 20, *BY_OPERATION, "--exclude-operation-id", "watch_session")
    print(accepted(answers))


def test_what_is_valid_for_the_models_there_are_is_accepted(fuzzed: Server, tmp_path: Path):
    answers = run(fuzzed, tmp_path, 20, *BY_OPERATION, narrow=True)
    print(accepted(answers), Counter(answers))
