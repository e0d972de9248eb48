"""Results in Amazon's DynamoDB: `dynamodb://key:secret@region/table?read=5&write=5&ttl_seconds=86400`."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from .extras import need
from .remote import Place, RemoteStoreBackend, as_bytes

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

__all__ = ("DynamoDBBackend",)

#: DynamoDB reads no more items at once.
KEYS_AT_ONCE = 100
_TEMPORARY = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)


class DynamoDBBackend(RemoteStoreBackend):
    """Results as items of one table, which is made if it is not there.

    Args:
        url: `dynamodb://[key:secret@]region[:port][/table]`; with `localhost` or an address and a port, a
            server there. `read` and `write` are the capacity of the table that is made; results live for
            `ttl_seconds` (negative: for ever, and the table's expiry is switched off; default: it is left alone).
        table_name: default `celery`.

    Raises:
        ImproperlyConfigured: boto3 is not installed.
        ValueError: only one of key and secret is given.
    """

    table_name = "celery"
    read_capacity_units = 1
    write_capacity_units = 1
    aws_region: str | None = None
    endpoint_url: str | None = None
    time_to_live_seconds: int | None = None
    supports_autoexpire = True
    supports_result_compression = True
    supports_native_join = True
    implements_incr = True

    def __init__(
        self, url: str | None = None, table_name: str | None = None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, url=url, **kwargs)
        self._botocore = need("botocore.exceptions", extra="dynamodb", store="DynamoDB")
        self.url = url
        place = Place(url)
        if bool(place.user) != bool(place.password):
            raise ValueError("You need to specify both the Access Key ID and Secret.")
        self._credentials = (place.user, place.password)
        self.table_name = table_name or place.path or self.table_name
        self.read_capacity_units = int(place.query.get("read", self.read_capacity_units))
        self.write_capacity_units = int(place.query.get("write", self.write_capacity_units))
        ttl = place.query.get("ttl_seconds")
        self.time_to_live_seconds = int(ttl) if ttl else None
        self._find_endpoint(place)
        self._table_ready = False

    def _find_endpoint(self, place: Place) -> None:
        host = place.host or "us-east-1"
        if host == "localhost" or "." in host or ":" in host:
            self.aws_region = "us-east-1"
            self.endpoint_url = f"http://{host}:{place.port or 8000}"
        else:
            self.aws_region = host
            self.endpoint_url = None
        self.endpoint_url = self.app.conf.get("dynamodb_endpoint_url") or self.endpoint_url

    def _identity(self) -> Hashable:
        return self.aws_region, self.endpoint_url, self._credentials

    def _connect(self) -> Any:
        boto3 = need("boto3", extra="dynamodb", store="DynamoDB")
        key, secret = self._credentials
        return boto3.client(
            "dynamodb",
            region_name=self.aws_region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
        )

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the service may do it later: it does not answer, or asks for patience."""
        if isinstance(exc, self._botocore.ClientError):
            return exc.response["Error"]["Code"] in _TEMPORARY
        return isinstance(exc, (self._botocore.ConnectionError, self._botocore.HTTPClientError))

    # -- the table

    @property
    def _table(self) -> Any:
        """The client, once the table is there."""
        client = self.client
        if not self._table_ready:
            self._make_table(client)
            self._set_expiry(client)
            self._table_ready = True
        return client

    def _make_table(self, client: Any) -> None:
        try:
            client.describe_table(TableName=self.table_name)
            return
        except client.exceptions.ResourceNotFoundException:
            pass
        with contextlib.suppress(client.exceptions.ResourceInUseException):  # somebody else makes it
            client.create_table(
                TableName=self.table_name,
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                ProvisionedThroughput={
                    "ReadCapacityUnits": self.read_capacity_units,
                    "WriteCapacityUnits": self.write_capacity_units,
                },
            )
        client.get_waiter("table_exists").wait(TableName=self.table_name, WaiterConfig={"Delay": 1})

    def _set_expiry(self, client: Any) -> None:
        wanted = self.time_to_live_seconds
        if wanted is None:
            return
        found = client.describe_time_to_live(TableName=self.table_name)["TimeToLiveDescription"]
        enabled = found.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        if enabled != (wanted >= 0):
            client.update_time_to_live(
                TableName=self.table_name,
                TimeToLiveSpecification={"Enabled": wanted >= 0, "AttributeName": "ttl"},
            )

    @staticmethod
    def _id(key: Any) -> dict[str, Any]:
        """An item's key. Celery writes the text of a bytes object, so this does."""
        return {"id": {"S": str(as_bytes(key))}}

    def _life(self) -> dict[str, Any]:
        now = time.time()
        stamps: dict[str, Any] = {"timestamp": {"N": str(now)}}
        if self.time_to_live_seconds is not None and self.time_to_live_seconds >= 0:
            stamps["ttl"] = {"N": str(int(now + self.time_to_live_seconds))}
        return stamps

    # -- keys and values

    def get(self, key: Any) -> Any:
        """See the base class."""
        found = self._table.get_item(TableName=self.table_name, Key=self._id(key), ConsistentRead=True)
        return _value(found.get("Item"))

    def mget(self, keys: Sequence[Any]) -> Any:
        """See the base class."""
        found: dict[Any, Any] = {}
        ids = {self._id(key)["id"]["S"]: key for key in keys}
        for chunk in _chunks([self._id(key) for key in keys]):
            asked = {self.table_name: {"Keys": chunk, "ConsistentRead": True}}
            while asked:
                answer = self._table.batch_get_item(RequestItems=asked)
                for item in answer["Responses"].get(self.table_name, ()):
                    found[ids[item["id"]["S"]]] = _value(item)
                asked = answer.get("UnprocessedKeys") or {}
        return [found.get(key) for key in keys]

    def set(self, key: Any, value: Any) -> Any:
        """See the base class."""
        item = {**self._id(key), "result": {"B": as_bytes(value)}, **self._life()}
        self._table.put_item(TableName=self.table_name, Item=item)

    def delete(self, key: Any) -> Any:
        """See the base class."""
        self._table.delete_item(TableName=self.table_name, Key=self._id(key))

    def incr(self, key: Any) -> int:
        """See the base class."""
        found = self._table.update_item(
            TableName=self.table_name,
            Key=self._id(key),
            UpdateExpression="ADD chord_count :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="UPDATED_NEW",
        )
        return int(found["Attributes"]["chord_count"]["N"])


def _value(item: Any) -> Any:
    """What is stored there: a value, or a count."""
    if not item:
        return None
    return item["result"]["B"] if "result" in item else item.get("chord_count", {}).get("N")


def _chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(keys), KEYS_AT_ONCE):
        yield keys[start : start + KEYS_AT_ONCE]
