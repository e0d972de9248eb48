"""Messages as they were captured from Celery 5.7, read and written."""

from __future__ import annotations

import base64
import datetime as dt
import json
import zlib

import pytest

from celery.brokers.base import Delivery
from celery.exceptions import ContentDisallowed, InvalidTaskError
from celery.message import envelope, serializers
from celery.message.body import decode_body
from celery.message.errors import MalformedMessage
from celery.message.headers import LazyObject
from celery.message.protocol1 import normalize
from celery.message.task import TaskHeaders, decode_headers, decode_properties
from celery.message.writing import build_v1, build_v2

JSON = serializers.prepare_accept_content(["json"])
NO_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
ID = "11111111-1111-1111-1111-111111111111"

#: A simple task on Redis.
CAPTURED = (
    b'{"body":"W1syLCAyXSwge30sIHsiY2FsbGJhY2tzIjogbnVsbCwgImVycmJhY2tzIjogbnVsbCwgImNoYWluIjogbnVsbCwgImNob3JkIjog'
    b'bnVsbH1d","content-encoding":"utf-8","content-type":"application/json","headers":{"lang":"py","task":"tasks.add",'
    b'"id":"11111111-1111-1111-1111-111111111111","shadow":null,"eta":null,"expires":null,"group":null,"group_index":'
    b'null,"retries":0,"timelimit":[null,null],"root_id":"11111111-1111-1111-1111-111111111111","parent_id":null,'
    b'"argsrepr":"(2, 2)","kwargsrepr":"{}","origin":"gen9891@vm","ignore_result":false,"replaced_task_nesting":0,'
    b'"stamped_headers":null,"stamps":{}},"properties":{"correlation_id":"11111111-1111-1111-1111-111111111111",'
    b'"reply_to":"e06ff324-bc55-377b-b09e-433092dac6b2","delivery_mode":2,"delivery_info":{"exchange":"","routing_key":'
    b'"celery"},"priority":0,"body_encoding":"base64","delivery_tag":"08015e68-1f2b-46c2-86b6-6b4d955ddc31"}}'
)


def delivery(headers, body, properties=None):
    return Delivery(
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        LazyObject(value=headers),
        LazyObject(value=properties or {"content_type": "application/json", "content_encoding": "utf-8"}),
        "celery",
        None,
    )


class TestEnvelope:
    def test_read(self):
        message = envelope.decode(CAPTURED)
        assert (message.exchange, message.routing_key, message.priority) == ("", "celery", 0)
        assert message.delivery_tag == "08015e68-1f2b-46c2-86b6-6b4d955ddc31"
        assert not message.redelivered
        headers = decode_headers(message.headers)
        assert (headers.task, headers.id, headers.ignore_result) == ("tasks.add", ID, False)
        properties = decode_properties(message.properties)
        assert (properties.content_type, properties.content_encoding) == ("application/json", "utf-8")
        assert properties.reply_to == "e06ff324-bc55-377b-b09e-433092dac6b2"
        assert decode_body(message.body, "application/json", "utf-8", None, JSON) == ([2, 2], {}, NO_EMBED)

    def test_written_as_captured(self):
        message = envelope.decode(CAPTURED)
        again = envelope.encode(
            message.body,
            message.headers,
            message.properties,
            exchange="",
            routing_key="celery",
            delivery_tag=message.delivery_tag,
        )
        assert json.loads(again) == json.loads(CAPTURED)
        assert list(json.loads(again)) == list(json.loads(CAPTURED))

    def test_restored_message(self):
        wire = json.loads(CAPTURED)
        wire["headers"]["redelivered"] = True
        wire["properties"]["delivery_info"]["redelivered"] = True
        message = envelope.decode(json.dumps(wire).encode())
        assert message.redelivered
        assert decode_headers(message.headers).redelivered

    def test_plain_body_and_sparse_properties(self):
        message = envelope.decode(b'{"body": "[1]", "headers": null, "properties": {}}')
        assert (message.body, message.headers.value, message.properties.value) == (b"[1]", {}, {})

    @pytest.mark.parametrize(
        "data",
        [b"", b"{}", b"[]", b"null", b'{"body": "e", "properties": {"body_encoding": "base64"}}', b'{"body": 1, "properties": 5}',
         b'{"body": "x", "properties": {"priority": "high"}}', b"\xff", b'{"body":' + b"[" * 100000],
    )  # fmt: skip
    def test_no_envelope(self, data):
        with pytest.raises(MalformedMessage, match="no message envelope"):
            envelope.decode(data)


class TestHeaders:
    def test_only_task_and_id_are_needed(self):
        headers = decode_headers(LazyObject(raw=b'{"task": "t", "id": "i"}'))
        assert headers == TaskHeaders(task="t", id="i")
        assert headers.timelimit == (None, None)
        assert (headers.eta_at(), headers.expires_at()) == (None, None)

    def test_dates(self):
        headers = decode_headers(LazyObject(value={"task": "t", "id": "i", "eta": "2026-01-02T03:04:05",
                                                   "expires": "2026-01-02T03:04:05+02:00"}))  # fmt: skip
        assert headers.eta_at() == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
        zone = dt.timezone(dt.timedelta(hours=1))
        assert headers.eta_at(zone) == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone)
        assert headers.expires_at() == dt.datetime(2026, 1, 2, 1, 4, 5, tzinfo=dt.UTC)

    def test_numeric_ids_become_text(self):
        headers = decode_headers(LazyObject(raw=b'{"task": "t", "id": 5, "root_id": 6, "retries": null}'))
        assert (headers.id, headers.root_id, headers.retries) == ("5", "6", 0)

    def test_limits(self):
        headers = decode_headers(LazyObject(raw=b'{"task": "t", "id": "i", "timelimit": [20, 1.5]}'))
        assert headers.timelimit == (20, 1.5)
        assert decode_headers(LazyObject(raw=b'{"task": "t", "id": "i", "timelimit": null}')).timelimit == (
            None,
            None,
        )

    @pytest.mark.parametrize(
        ("headers", "reason"),
        [
            ({"id": "i"}, "task"),
            ({"task": "t"}, "id"),
            ({"task": "", "id": "i"}, "task is empty"),
            ({"task": "t", "id": "i", "eta": "soon"}, "eta is no date: 'soon'"),
            ({"task": "t", "id": "i", "timelimit": [-1, None]}, "timelimit is no number of seconds: -1"),
            ({"task": "t", "id": "i", "retries": -1}, "retries is -1"),
        ],
    )
    def test_reasons(self, headers, reason):
        with pytest.raises(MalformedMessage) as caught:
            decode_headers(LazyObject(value=headers))
        assert reason in caught.value.reason
        assert isinstance(caught.value, InvalidTaskError)

    def test_deep_custom_header(self):
        raw = b'{"task": "t", "id": "i", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
        with pytest.raises(MalformedMessage, match="recursion"):
            decode_headers(LazyObject(raw=raw))


class TestBody:
    def test_compressed(self):
        body = zlib.compress(b"[[1], {}, {}]")
        assert decode_body(body, "application/json", "utf-8", "application/x-gzip", JSON).args == [1]

    def test_embedded_signatures(self):
        embed = {**NO_EMBED, "callbacks": [{"task": "a"}], "chord": {"task": "b"}}
        body = json.dumps([[], {}, embed]).encode()
        assert decode_body(body, "application/json", "utf-8", None, JSON).embed == embed

    def test_sparse_embed(self):
        assert decode_body(b"[[], {}, {}]", "application/json", "utf-8", None, JSON).embed == NO_EMBED
        assert decode_body(b"[[], {}, null]", "application/json", "utf-8", None, JSON).embed == NO_EMBED

    def test_extended_types(self):
        body = b'[[{"__type__": "date", "__value__": "2026-01-02"}], {}, {}]'
        assert decode_body(body, "application/json", "utf-8", None, JSON).args == [dt.date(2026, 1, 2)]

    def test_hybrid(self):
        body = json.dumps({"args": [1], "kwargs": {"a": 2}, "chord": {"task": "c"}}).encode()
        assert decode_body(body, "application/json", "utf-8", None, JSON) == (
            [1],
            {"a": 2},
            {**NO_EMBED, "chord": {"task": "c"}},
        )

    def test_not_accepted(self):
        content_type, content_encoding, body = serializers.dumps(([], {}, NO_EMBED), "pickle")
        with pytest.raises(MalformedMessage, match="untrusted content of type pickle") as caught:
            decode_body(body, content_type, content_encoding, None, JSON)
        assert isinstance(caught.value.__cause__, ContentDisallowed)

    def test_json_not_accepted(self):
        with pytest.raises(MalformedMessage, match="untrusted content of type json"):
            decode_body(b"[[], {}, {}]", "application/json", "utf-8", None, frozenset())


#: A task of protocol 1.
BODY = {
    "task": "tasks.add",
    "id": ID,
    "args": [1, 2],
    "kwargs": {"z": 1},
    "group": None,
    "group_index": None,
    "retries": 0,
    "eta": "2026-11-21T01:41:31.752508+00:00",
    "expires": None,
    "utc": True,
    "callbacks": None,
    "errbacks": None,
    "timelimit": [None, None],
    "taskset": None,
    "chord": None,
}


class TestProtocol1:
    def test_read(self):
        lazy, body, properties = normalize(delivery({}, BODY), JSON)
        headers = decode_headers(lazy)
        assert (headers.task, headers.id, headers.root_id, headers.parent_id) == ("tasks.add", ID, ID, None)
        assert headers.eta == "2026-11-21T01:41:31.752508+00:00"
        assert decode_body(body, "application/json", "utf-8", None, JSON) == ([1, 2], {"z": 1}, NO_EMBED)
        assert properties.value["content_type"] == "application/json"

    def test_least(self):
        lazy, body, _ = normalize(delivery({}, {"task": "t", "id": "i"}), JSON)
        assert decode_headers(lazy).task == "t"
        assert decode_body(body, "application/json", "utf-8", None, JSON) == ([], {}, NO_EMBED)

    def test_dates_without_offset(self):
        lazy, _, _ = normalize(delivery({}, {**BODY, "eta": "2026-01-01T00:00:00"}), JSON)
        assert decode_headers(lazy).eta == "2026-01-01T00:00:00+00:00"
        lazy, _, _ = normalize(delivery({}, {**BODY, "eta": "2026-01-01T00:00:00", "utc": False}), JSON)
        assert decode_headers(lazy).eta == "2026-01-01T00:00:00"

    def test_taskset_is_the_group(self):
        lazy, _, _ = normalize(delivery({}, {**BODY, "group": None, "taskset": "g"}), JSON)
        assert decode_headers(lazy).group == "g"

    def test_custom_headers_stay(self):
        lazy, _, _ = normalize(delivery({"x-trace": "a"}, BODY), JSON)
        assert lazy.value["x-trace"] == "a"

    def test_compressed(self):
        packed = zlib.compress(json.dumps(BODY).encode())
        lazy, body, _ = normalize(delivery({"compression": "application/x-gzip"}, packed), JSON)
        headers = decode_headers(lazy)
        assert headers.compression is None
        assert decode_body(body, "application/json", "utf-8", headers.compression, JSON).args == [1, 2]

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ({"id": "i"}, "unknown message"),
            ({"task": "t"}, "task without id"),
            ({"task": "t", "id": "i", "args": "ab"}, "arguments must be a list or tuple, got str"),
            ({"task": "t", "id": "i", "kwargs": [1]}, "keyword arguments must be a mapping, got list of 1"),
            ([1], "unknown message"),
            (b"\xff\xff", "cannot be decoded"),
        ],
    )
    def test_reasons(self, body, reason):
        with pytest.raises(MalformedMessage, match=reason):
            normalize(delivery({}, body), JSON)

    def test_protocol_2_is_left_alone(self):
        given = delivery({"lang": "js", "task": "t", "id": "i"}, b"whatever")
        assert normalize(given) == (given.headers, given.body, given.properties)

    def test_written(self):
        message = build_v1(ID, "tasks.add", [1, 2], {"z": 1}, eta=BODY["eta"], sent_event=True)
        assert json.loads(json.dumps(message.body)) == BODY
        assert (message.headers, message.properties) == ({}, {"correlation_id": ID, "reply_to": ""})
        assert message.sent_event["uuid"] == ID


def test_protocol_2_as_captured():
    message = build_v2(
        ID, "tasks.add", (2, 2), {}, argsrepr="(2, 2)", kwargsrepr="{}", origin="gen9891@vm", reply_to="r"
    )
    wire = json.loads(CAPTURED)
    assert message.headers == wire["headers"]
    assert list(message.headers) == list(wire["headers"])
    assert json.loads(base64.b64decode(wire["body"])) == json.loads(json.dumps(message.body))
    assert message.properties == {"correlation_id": ID, "reply_to": "r"}
