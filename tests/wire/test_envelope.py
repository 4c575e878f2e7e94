"""Envelopes, compared as text: the order of members is part of the recorded answers."""

import json

from sirocco.wire.envelope import gateway_failure, inference_failure, page_of, success


def test_success_wraps_the_result():
    assert json.dumps(success({"response": "hi"})) == (
        '{"result": {"response": "hi"}, "success": true, "errors": [], "messages": []}'
    )


def test_a_gateway_failure_has_a_null_result():
    assert json.dumps(gateway_failure(10000, "Authentication error")) == (
        '{"result": null, "success": false, '
        '"errors": [{"code": 10000, "message": "Authentication error"}], "messages": []}'
    )


def test_a_gateway_failure_can_name_its_causes():
    body = gateway_failure(6003, "Invalid request headers", error_chain=[{"code": 6111}])

    assert body["errors"] == [
        {"code": 6003, "message": "Invalid request headers", "error_chain": [{"code": 6111}]}
    ]


def test_an_inference_failure_ends_its_message_with_the_request_id():
    body = inference_failure(5007, "AiError: No such model", "72ef7198-96cd-45f8-bbf2-16041bea5b80")

    assert json.dumps(body) == (
        '{"errors": [{"message": "AiError: No such model '
        '(72ef7198-96cd-45f8-bbf2-16041bea5b80)", "code": 5007}], '
        '"success": false, "result": {}, "messages": []}'
    )


def test_a_message_stands_beside_a_result():
    assert success(1, messages=[{"code": 10000}])["messages"] == [{"code": 10000}]


def test_pages_go_on_until_one_is_empty():
    pages = [page_of(["a", "b", "c"], page=page, per_page=2) for page in (1, 2, 3)]

    assert [page["result"] for page in pages] == [["a", "b"], ["c"], []]
    assert pages[1]["result_info"] == {
        "page": 2, "per_page": 2, "count": 1, "total_count": 3, "total_pages": 2
    }  # fmt: skip
