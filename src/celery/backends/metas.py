"""Metas: what is stored of a task, and the form in which it is written and read."""

from __future__ import annotations

import contextlib
import datetime
import time
import warnings
from typing import TYPE_CHECKING, Any

from celery import states
from celery._state import get_current_task
from celery.exceptions import ImproperlyConfigured
from celery.message import serializers
from celery.message.compression import UnknownCompression
from celery.result import ResultBase

from . import encoding, resume_notes
from .blind import PICKLED, unpickled
from .encoding import compress_payload, decompress_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    Meta = dict[str, Any]

#: States that are stored with a time, by which they expire where the store does not see to that.
_DATED = states.READY_STATES | {resume_notes.NOTE}


class MetaCodec:
    """How a backend makes metas, writes and reads them."""

    app: Any
    serializer: str
    content_type: str
    content_encoding: str
    accept: Any
    compression: str | None
    _extended: bool
    _usual: bool
    EXCEPTION_STATES = states.EXCEPTION_STATES
    persistent: bool
    supports_result_compression: bool

    def encode(self, data: Any) -> Any:
        """Serialize; compressed if `result_compression` says so."""
        if type(self)._encode is MetaCodec._encode:
            payload: Any = serializers.dumps(data, self.serializer)[2]
        else:
            payload = self._encode(data)[2]
        return compress_payload(payload, self.compression) if self.compression else payload

    def _encode(self, data: Any) -> tuple[str, str, Any]:
        """Content type, content encoding, and the text, or bytes if the encoding is `binary`: for stores of others."""
        content_type, content_encoding, payload = serializers.dumps(data, self.serializer)
        if content_encoding == "binary":
            return content_type, content_encoding, payload
        return content_type, content_encoding, payload.decode(content_encoding)

    def decode(self, payload: Any) -> Any:
        """Undo `encode`, whatever compression was used."""
        if payload is None:
            return payload
        return serializers.loads(
            decompress_payload(payload), self.content_type, self.content_encoding, accept=self.accept
        )

    def is_success(self, payload: Any) -> bool:
        """Whether a stored meta is that of a success. No class of the user's is loaded for it."""
        try:
            if self.content_type == PICKLED:
                return bool(unpickled(decompress_payload(payload))["status"] == states.SUCCESS)
            return bool(self.decode(payload)["status"] == states.SUCCESS)
        except Exception:  # noqa: BLE001 - what cannot be read is no success, and shall be replaced
            return False

    def decode_result(self, payload: Any) -> Meta:
        """Decode a meta, and make its exception again."""
        return self.meta_from_decoded(self.decode(payload))

    def meta_from_decoded(self, meta: Meta) -> Meta:
        """Make the exception of a decoded meta again, if it has one."""
        if meta["status"] in self.EXCEPTION_STATES:
            meta["result"] = self.exception_to_python(meta["result"])
        return meta

    def encode_result(self, result: Any, state: str) -> Any:
        """A value, or an exception if `state` is one for them, in its stored form."""
        if state in self.EXCEPTION_STATES and isinstance(result, BaseException):
            return self.prepare_exception(result)
        return self.prepare_value(result)

    def prepare_value(self, result: Any) -> Any:
        """A value in its stored form: results of other tasks become tuples of their ids."""
        if self.serializer != "pickle" and isinstance(result, ResultBase):
            return result.as_tuple()
        return result

    def prepare_exception(self, exc: BaseException, serializer: str | None = None) -> Any:
        """An exception in its stored form."""
        return encoding.store_exception(exc, serializer or self.serializer, self.encode)

    def exception_to_python(self, exc: Any) -> BaseException | None:
        """The exception that was stored as `exc`.

        Raises:
            SecurityError: what it names is no exception class.
        """
        return encoding.restore_exception(exc)

    def _get_result_meta(
        self,
        result: Any,
        state: str,
        traceback: Any,
        request: Any,
        format_date: bool = True,
        encode: bool = False,
    ) -> Meta:
        done: Any = None
        if state in _DATED:
            done = encoding.done_now(time.time()) if format_date else datetime.datetime.now(datetime.UTC)
        return encoding.result_meta(
            result,
            state,
            traceback,
            request,
            done=done,
            children=self.current_task_children(request),
            extended=self._extended,
            encode=self.encode if encode else None,
        )

    def _encoded_meta(self, task_id: str, result: Any, state: str, traceback: Any, request: Any) -> Any:
        """The meta as it is stored: `encode(_get_result_meta(...))`, a success by a template."""
        if (
            self._usual
            and state == states.SUCCESS
            and not getattr(request, "_children", True)  # one of ours, and without
            and serializers.json_is_ours()
        ):
            with contextlib.suppress(TypeError, ValueError):  # the long way says what cannot be written
                return encoding.success_as_json(
                    task_id, result, request, encoding.done_now(time.time())
                ).encode()
        meta = self._get_result_meta(result, state, traceback, request)
        meta["task_id"] = task_id
        return self.encode(meta)

    def current_task_children(self, request: Any = None) -> list[Any] | None:
        """The results of the tasks that this one called, as tuples; None outside of a task."""
        request = request or getattr(get_current_task(), "request", None)
        if request is None:
            return None
        return [child.as_tuple() for child in getattr(request, "children", None) or ()]

    def prepare_expires(self, value: Any, type: Callable[[Any], Any] | None = None) -> Any:  # noqa: A002 - Celery's name
        """Seconds of life for a result; None takes `result_expires`."""
        if value is None:
            value = self.app.conf.result_expires
        if isinstance(value, datetime.timedelta):
            value = value.total_seconds()
        return type(value) if value is not None and type else value

    def prepare_persistent(self, enabled: bool | None = None) -> bool:
        """Whether results shall survive a restart of the store; None takes `result_persistent`, else the driver's."""
        if enabled is not None:
            return enabled
        configured = self.app.conf.result_persistent
        return self.persistent if configured is None else configured

    def prepare_compression(self, compression: str | None) -> str | None:
        """The compression to use: None, with a warning, if this store cannot hold bytes.

        Raises:
            ImproperlyConfigured: there is no such compression.
        """
        if compression:
            try:
                compress_payload(b"", compression)
            except UnknownCompression as exc:
                raise ImproperlyConfigured(f"Setting 'result_compression': {exc}") from exc
        if compression and not self.supports_result_compression:
            warnings.warn(
                f"result_compression={compression!r} is ignored: {type(self).__name__} cannot store compressed results.",
                UserWarning,
                stacklevel=2,
            )
            return None
        return compression or None
