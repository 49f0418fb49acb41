"""schemathesis against a real server: what it does is what its OpenAPI document says."""

import json
from collections import Counter
from pathlib import Path

from tests.service.schema import v2
from tests.service.schema.runs import SEED, Answer, done, run
from tests.service.serving import Server

BY_OPERATION = ("--phases", "coverage,fuzzing")
# It answers for as long as one listens; see the test of valid requests.
NO_EVENTS = ("--exclude-operation-id", "watch_session")
OPERATIONS = 27
# Of rows that a session need not keep, whatever is asked of it.
OF_KEPT_ROWS = ("read_trace", "explain_session")


def test_every_answer_to_good_and_bad_requests_is_one_that_the_document_tells(
    fuzzed: Server, tmp_path: Path
):
    # How long a model's rows are no document can say, so here a valid request may be refused.
    valid_may_fail = ("--exclude-checks", "positive_data_acceptance")
    answers = run(fuzzed, tmp_path, 10, *BY_OPERATION, *NO_EVENTS, *valid_may_fail)
    assert len({answer.operation for answer in answers}) == OPERATIONS - 1
    assert {answer.status for answer in answers} >= {200, 201, 204, 400, 404, 405, 415, 426}
    assert sum(times for answer, times in answers.items() if answer.mode == "negative") > 500


def test_every_request_that_is_valid_for_the_models_there_are_is_accepted(
    fuzzed: Server, tmp_path: Path
):
    answers = run(fuzzed, tmp_path, 15, *BY_OPERATION, "--mode", "positive", narrow="model session")
    refused = {answer: times for answer, times in answers.items() if answer.status >= 300}
    not_kept = {Answer(name, "positive", 404) for name in OF_KEPT_ROWS}
    assert set(refused) - not_kept == {Answer("explain_stream", "positive", 426)}
    assert len({*done(answers), *OF_KEPT_ROWS}) == OPERATIONS - 1


def test_sessions_that_are_begun_moved_and_ended_along_the_links_answer_as_told(
    fuzzed: Server, tmp_path: Path
):
    # Loading models gives nothing to go on with.
    unlinked = ("--exclude-operation-id", "reload_models")
    moved = {"step_session", "reset_session", "restore_session", "migrate_session", "end_session"}
    made = {"create_session", "fork_session", "keep_snapshot"}
    wanted = moved | made | {"describe_session", "read_memory", "read_history"}
    answers = Counter[Answer]()
    # What a walk comes by is chance: most go along every link, and eight together surely do.
    for walk in range(8):
        folder = tmp_path / str(walk)
        folder.mkdir()
        seed = str(int(SEED) + walk)
        answers += run(
            fuzzed, folder, 250, "--phases", "stateful", *NO_EVENTS, *unlinked,
            narrow="model", seed=seed,
        )  # fmt: skip
        if wanted <= set(done(answers)):
            break
    assert wanted <= set(done(answers))
    assert sum(done(answers).values()) > 0.5 * answers.total()


def test_the_open_inference_protocol_refuses_in_its_own_form_and_never_fails(
    fuzzed: Server, tmp_path: Path
):
    path = tmp_path / "v2.json"
    path.write_text(json.dumps(v2.document()))
    # What tensors a model takes the document does not say; unknown parameters are passed over.
    judged = "not_a_server_error,status_code_conformance,content_type_conformance"
    checks = ("--checks", f"{judged},response_schema_conformance")
    answers = run(fuzzed, tmp_path, 15, *BY_OPERATION, *checks, document=path)
    assert {answer.status for answer in answers} >= {200, 400, 404, 405}
    assert {"infer_version", "index", "metadata_one", "stats_one"} <= set(done(answers))
