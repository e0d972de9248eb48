"""Look at RabbitMQ by py-amqp and rabbitmqctl, and say what is there so that two runs say the same."""

import base64
import json
import re
import subprocess
from urllib.parse import urlsplit

import amqp
from raw import body, stable


class Rabbit:
    """One connection to the vhost of a URL."""

    def __init__(self, url, ctl=None):
        parts = urlsplit(url)
        self.vhost = parts.path[1:] or "/"
        self._ctl = ctl
        self.connection = amqp.Connection(
            f"{parts.hostname}:{parts.port}", parts.username, parts.password, virtual_host=self.vhost
        )
        self.connection.connect()
        self.channel = self.connection.channel()

    def get(self, queue, names):
        """The next message of a queue, or None."""
        try:
            found = self.channel.basic_get(queue, no_ack=True)
        except amqp.NotFound:
            self.channel = self.connection.channel()
            return None
        return found and told(found, names)

    def count(self, queue):
        """(messages, consumers), or None if there is no such queue."""
        try:
            return tuple(self.channel.queue_declare(queue, passive=True))[1:]
        except amqp.NotFound:
            self.channel = self.connection.channel()
            return None

    def delete(self, *queues):
        for queue in queues:
            self.channel.queue_delete(queue)

    def everything(self, names):
        """Queues, exchanges and bindings, but for those that are always there."""
        vhost = f'<<"{self.vhost}">>'
        code = (
            f'[io:format("queue ~0p~n", [I]) || I <- rabbit_amqqueue:info_all({vhost}, '
            "[name, durable, auto_delete, exclusive, arguments])], "
            f'[io:format("exchange ~0p~n", [I]) || I <- rabbit_exchange:info_all({vhost}, '
            "[name, type, durable, auto_delete, arguments])], "
            f'[io:format("binding ~0p~n", [I]) || I <- rabbit_binding:info_all({vhost})], ok.'
        )
        said = subprocess.run([self._ctl, "eval", code], capture_output=True, text=True, check=True).stdout
        lines = [
            plain(line) for line in said.splitlines() if line.startswith(("queue", "exchange", "binding"))
        ]
        usual = ("exchange amq.", "exchange <empty>", "binding <empty>")
        return [stable(line, names) for line in sorted(lines) if not line.startswith(usual)]


def plain(line):
    """Erlang's terms in fewer words."""
    line = re.sub(r"\{resource,<<\"[^\"]*\">>,\w+,<<(?:\"([^\"]*)\")?>>\}", lambda m: m[1] or "<empty>", line)
    line = re.sub(r'<<"([^"]*)">>', r"\1", line)
    line = re.sub(r"\{(?:name|source_name),([^{}]*)\}", r"\1", line)
    line = re.sub(r"\{(\w+),(true|false)\}", lambda m: m[1] if m[2] == "true" else "", line)
    line = re.sub(r"\{type,(\w+)\}", r"\1", line)
    line = re.sub(r"\{(?:source_kind|destination_kind|vhost),[^{}]*\}", "", line)
    line = re.sub(r"\{destination_name,([^{}]*)\}", r"-> \1", line)
    line = re.sub(r"\{routing_key,([^{}]*)\}", r"by \1", line).replace("{arguments,[]}", "")
    line = line.replace("{source_name,<<>>}", "<empty>").replace("<<>>", "<empty>")
    return re.sub(r"\s+", " ", re.sub(r"[\[\],]+", " ", line)).strip()


def told(message, names):
    """A message: where it was sent, properties, headers, body."""
    properties = dict(message.properties)
    headers = properties.pop("application_headers", {})
    if not properties.get("priority"):
        properties.pop("priority", None)  # None and 0 are one to a broker
    envelope = {
        "body": base64.b64encode(_bytes(message.body)).decode(),
        "content-type": properties.get("content_type"),
        "content-encoding": properties.get("content_encoding"),
        "headers": headers,
        "properties": properties,
        "exchange": message.delivery_info["exchange"],
        "routing_key": message.delivery_info["routing_key"],
    }
    envelope["body"] = body(envelope)
    return json.loads(stable(json.dumps(envelope, sort_keys=True, default=repr), names))


def _bytes(content):
    return content.encode() if isinstance(content, str) else bytes(content)
