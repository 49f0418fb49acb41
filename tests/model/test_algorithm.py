from model.algorithm import Rule, describe, rules
from tests.model.scripted import WRITES, B, episodes


def shares(*slots: tuple[int, ...]) -> dict[str, float]:
    return {rule.sentence: rule.share for rule in rules(episodes(*slots))}


def test_the_textbook_copy_is_told_in_full() -> None:
    told = describe(rules(episodes()))
    assert told.splitlines() == [
        "- the write head moves on by one slot a row while the input is seen (100%)",
        "- nothing is written while it answers (100%)",
        "- the read head moves on by one slot a row while it answers (100%)",
        "- the read head is back at the slot that was written first as the answer begins (100%)",
        "- the read head reads each row of the answer where that row was written (100%)",
    ]


def test_a_head_that_goes_round_the_ring_backwards_is_told() -> None:
    found = shares((0, 5, 4, 3, 3, 3, 3), (0, 0, 0, 0, 0, 5, 4))
    assert found["the write head moves back by one slot a row while the input is seen"] == 1
    assert found["the write head moves on by one slot a row while the input is seen"] == 0
    assert found["the read head moves back by one slot a row while it answers"] == 1


def test_a_vector_may_be_carried_over_by_the_controller() -> None:
    sentence = "the read head reads each row of the answer where that row was written"
    assert shares(WRITES, (0, 0, 0, 0, 1, 2, 2))[sentence] == 1
    assert shares(WRITES, (4, 4, 4, 4, 4, 4, 4))[sentence] == 0


def test_a_read_head_that_stands_still_elsewhere_is_not_back() -> None:
    found = shares(WRITES, (4, 4, 4, 4, 4, 4, 4))
    assert found["the read head stays where it is while it answers"] == 1
    assert (
        found["the read head is back at the slot that was written first as the answer begins"] == 0
    )


def test_a_leap_by_content_is_told_from_waiting_and_from_shifting() -> None:
    sentence = "the read head leaps by content to where the answer begins"
    leaping = episodes(WRITES, (3, 3, 3, 3, 0, 1, 2))
    assert {rule.sentence: rule.share for rule in rules(leaping)}[sentence] == 0
    leaping.trace["read_gate"][:3, 4] = 0.75
    assert {rule.sentence: rule.share for rule in rules(leaping)}[sentence] == 0.75
    for reads in ((0, 0, 0, 0, 0, 1, 2), (3, 3, 3, 3, 4, 5, 0), (5, 5, 5, 5, 0, 1, 2)):
        beside = episodes(WRITES, reads)
        beside.trace["read_gate"][:, 4] = 0.75
        assert {rule.sentence: rule.share for rule in rules(beside)}[sentence] == 0


def test_writing_while_answering_is_told_by_how_much() -> None:
    busy = episodes()
    memory = busy.state["memory"]
    for row in range(4, 7):
        memory[:, row:, 5, 0] += 1
    (rule,) = [rule for rule in rules(busy) if rule.sentence.startswith("nothing is written")]
    bits = busy.batch.inputs[:, :3, :4].sum().item() / B + 3
    assert abs(rule.share - (1 - 1 / (bits / 4))) < 1e-6


def test_where_no_rule_holds_the_text_says_so() -> None:
    assert describe([Rule("the read head sings", 0.89)]).startswith("No rule tells")
