"""Every setting: its name, type, default, old name and meaning, in one table.

`SETTINGS` is the source of truth; everything else here is a view of it under the names that
Celery's users import (`NAMESPACES`, `DEFAULTS`, `find`, ...). Rows whose old name is None are ours.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

DEFAULT_POOL = "prefork"
DEFAULT_ACCEPT_CONTENT = ("json",)
DEFAULT_PROCESS_LOG_FMT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
DEFAULT_TASK_LOG_FMT = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
DEFAULT_SECURITY_DIGEST = "sha256"

_TRUTH = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip

#: The named result of `find`.
searchresult = namedtuple("searchresult", ("namespace", "key", "type"))


def strtobool(term: str | bool, table: Mapping[str, bool] | None = None) -> bool:
    """Read a word as a truth value: 1/0, true/false, yes/no, on/off, in any case.

    Raises:
        TypeError: the word is none of these.
    """
    if not isinstance(term, str):
        return term
    try:
        return (table or _TRUTH)[term.lower()]
    except KeyError:
        raise TypeError(f"Cannot coerce {term!r} to type bool") from None


class Option:
    """What is known of one setting.

    Attributes:
        default: the value when nobody sets it.
        type: `string`, `int`, `float`, `bool`, `bytes`, `dict`, `list`, `tuple` or `any`.
        old: old upper-case names, in lower case.
        doc: its meaning, in one line.
    """

    alt: str | None = None
    deprecate_by: str | None = None
    remove_by: str | None = None
    old: frozenset[str] | set[str] = frozenset()
    type: str = "string"
    doc: str = ""
    typemap: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "string": str,
        "int": int,
        "float": float,
        "any": lambda value: value,
        "bool": strtobool,
        "bytes": lambda value: value.encode() if isinstance(value, str) else bytes(value),
        "dict": dict,
        "tuple": tuple,
        "list": list,
    }

    def __init__(self, default: Any = None, *args: Any, **kwargs: Any) -> None:
        self.default = default
        for name, value in kwargs.items():
            setattr(self, name, value)

    def to_python(self, value: Any) -> Any:
        """Convert `value` with the type's constructor (strict: see `celery.app.checks` for reading settings)."""
        return self.typemap[self.type](value)

    def __repr__(self) -> str:
        return f"<Option: type->{self.type} default->{self.default!r}>"


class Setting(NamedTuple):
    """One row of the table."""

    name: str
    type: str
    default: Any
    old: str | None
    doc: str


# fmt: off
SETTINGS: tuple[Setting, ...] = tuple(Setting(*row) for row in (
    ("accept_content", "list", ("json",), "CELERY_ACCEPT_CONTENT", "serializer names or MIME types the worker/consumer will decode; others rejected"),
    ("result_accept_content", "list", None, "RESULT_ACCEPT_CONTENT", "same for results; None = use accept_content"),
    ("enable_utc", "bool", True, "ENABLE_UTC", "dates in messages in UTC; when False local `timezone` used"),
    ("imports", "tuple", (), "CELERY_IMPORTS", "modules imported at worker start (after builtin modules)"),
    ("include", "tuple", (), "CELERY_INCLUDE", "like imports, for user defaults; imported after `imports`"),
    ("timezone", "string", None, "CELERY_TIMEZONE", "IANA name or tzinfo; None = UTC when enable_utc else system local; Django TIME_ZONE honoured"),
    ("fleet", "string", "mixed", None, "who shares the broker: 'mixed' keeps every wire form stock Celery's, 'celeriac' says all are ours"),
    ("embedded_store", "string", None, None, "path of the embedded store's file; None = .celery/store.db of the nearest folder upwards"),
    ("embedded_store_synchronous", "string", "NORMAL", None, "'NORMAL' survives every kill, 'FULL' survives a power cut too"),
    ("beat_cron_starting_deadline", "int", None, "CELERYBEAT_CRON_STARTING_DEADLINE", "seconds: skip missed crontab runs older than this"),
    ("beat_enable_remote_control", "bool", False, "CELERYBEAT_ENABLE_REMOTE_CONTROL", "beat answers `ping` on the pidbox as celerybeat@host"),
    ("beat_max_loop_interval", "float", 0, "CELERYBEAT_MAX_LOOP_INTERVAL", "max sleep of beat between checks; 0 = scheduler's own default (300)"),
    ("beat_remote_control_max_tick_age", "float", None, "CELERYBEAT_REMOTE_CONTROL_MAX_TICK_AGE", "seconds without tick after which beat stays silent; None = max(2*interval, 60); 0 = off"),
    ("beat_schedule", "dict", {}, "CELERYBEAT_SCHEDULE", "mapping entry name -> entry"),
    ("beat_schedule_filename", "string", "celerybeat-schedule", "CELERYBEAT_SCHEDULE_FILENAME", "shelve path of PersistentScheduler (suffix .db may be added)"),
    ("beat_scheduler", "string", "celery.beat:PersistentScheduler", "CELERYBEAT_SCHEDULER", "default Scheduler class (module:Class)"),
    ("beat_sync_every", "int", 0, "CELERYBEAT_SYNC_EVERY", "number of sends between syncs; 0 = only time-based (180 s)"),
    ("broker_channel_error_retry", "bool", False, "BROKER_CHANNEL_ERROR_RETRY", "also treat channel errors as recoverable"),
    ("broker_connection_max_retries", "int", None, "BROKER_CONNECTION_MAX_RETRIES", "attempts before giving up; unset, 0 or None: for ever"),
    ("broker_connection_retry", "bool", True, "BROKER_CONNECTION_RETRY", "reconnect after a lost connection"),
    ("broker_connection_retry_on_startup", "bool", None, "BROKER_CONNECTION_RETRY_ON_STARTUP", "retry the very first connect; None = same as broker_connection_retry"),
    ("broker_connection_timeout", "float", 4, "BROKER_CONNECTION_TIMEOUT", "seconds to wait for TCP connect"),
    ("broker_failover_strategy", "string", None, "BROKER_FAILOVER_STRATEGY", "'round-robin' (default), 'shuffle', or callable/iterator factory"),
    ("broker_heartbeat", "int", 10, "BROKER_HEARTBEAT", "seconds between heartbeats, a silent peer is given up after two; 0 or None: off"),
    ("broker_heartbeat_checkrate", "int", 3.0, "BROKER_HEARTBEAT_CHECKRATE", "checks happen every heartbeat/rate seconds"),
    ("broker_host", "string", None, "BROKER_HOST", "legacy separate component"),
    ("broker_login_method", "string", None, "BROKER_LOGIN_METHOD", "amqp login mechanism, None = transport default (PLAIN)"),
    ("broker_native_delayed_delivery_queue_type", "string", "quorum", "BROKER_NATIVE_DELAYED_DELIVERY_QUEUE_TYPE", "'quorum' or 'classic' for the 28 delay queues"),
    ("broker_password", "string", None, "BROKER_PASSWORD", "legacy separate component"),
    ("broker_pool_acquire_timeout", "float", None, "BROKER_POOL_ACQUIRE_TIMEOUT", "seconds to wait for a pooled connection, then OperationalError; None = forever"),
    ("broker_pool_limit", "int", 10, "BROKER_POOL_LIMIT", "max pooled connections; None/0 = no pooling, one connection per publish"),
    ("broker_port", "int", None, "BROKER_PORT", "legacy separate component"),
    ("broker_read_url", "string", None, "BROKER_READ_URL", "URL for consuming; default broker_url"),
    ("broker_transport", "string", None, "BROKER_TRANSPORT", "override transport alias/class (deprecated, use URL scheme)"),
    ("broker_transport_options", "dict", {}, "BROKER_TRANSPORT_OPTIONS", "dict passed to the transport"),
    ("broker_url", "string", None, "BROKER_URL", "broker URL, list of URLs, or `;`-joined URLs (failover)"),
    ("broker_use_ssl", "bool", False, "BROKER_USE_SSL", "True or dict of ssl options (keyfile, certfile, ca_certs, cert_reqs; redis: ssl_* names)"),
    ("broker_user", "string", None, "BROKER_USER", "legacy separate component"),
    ("broker_vhost", "string", None, "BROKER_VHOST", "legacy separate component"),
    ("broker_write_url", "string", None, "BROKER_WRITE_URL", "URL for publishing; default broker_url"),
    ("broker_dead_letter_limit", "int", 10000, None, "dead letters kept per queue, the oldest go first"),
    ("broker_dead_letter_ttl", "float", 604800.0, None, "seconds a dead letter is kept"),
    ("cache_backend", "string", None, "CELERY_CACHE_BACKEND", "cache client URL for the cache backend (deprecated; use result_backend)"),
    ("cache_backend_options", "dict", {}, "CELERY_CACHE_BACKEND_OPTIONS", "extra options to the memcached client"),
    ("cassandra_auth_kwargs", "string", None, "CASSANDRA_AUTH_KWARGS", "kwargs for that provider"),
    ("cassandra_auth_provider", "string", None, "CASSANDRA_AUTH_PROVIDER", "class name in cassandra.auth"),
    ("cassandra_bundle_path", "string", None, "CASSANDRA_BUNDLE_PATH", "secure-connect bundle (Astra); excludes servers"),
    ("cassandra_entry_ttl", "float", None, "CASSANDRA_ENTRY_TTL", "row TTL in seconds, None never"),
    ("cassandra_keyspace", "string", None, "CASSANDRA_KEYSPACE", "required"),
    ("cassandra_options", "dict", {}, "CASSANDRA_OPTIONS", "extra kwargs for Cluster"),
    ("cassandra_port", "string", None, "CASSANDRA_PORT", "default 9042 when None"),
    ("cassandra_read_consistency", "string", None, "CASSANDRA_READ_CONSISTENCY", "LOCAL_QUORUM default when None"),
    ("cassandra_servers", "list", None, "CASSANDRA_SERVERS", "list of hosts"),
    ("cassandra_table", "string", None, "CASSANDRA_TABLE", "required"),
    ("cassandra_write_consistency", "string", None, "CASSANDRA_WRITE_CONSISTENCY", "LOCAL_QUORUM default when None"),
    ("s3_access_key_id", "string", None, "S3_ACCESS_KEY_ID", "AWS key id, None = boto3 chain"),
    ("s3_base_path", "string", None, "S3_BASE_PATH", "key prefix"),
    ("s3_bucket", "string", None, "S3_BUCKET", "required bucket"),
    ("s3_endpoint_url", "string", None, "S3_ENDPOINT_URL", "custom endpoint"),
    ("s3_region", "string", None, "S3_REGION", "region"),
    ("s3_secret_access_key", "string", None, "S3_SECRET_ACCESS_KEY", "AWS secret"),
    ("azureblockblob_base_path", "string", "", "AZUREBLOCKBLOB_BASE_PATH", "key prefix"),
    ("azureblockblob_connection_timeout", "int", 20, "AZUREBLOCKBLOB_CONNECTION_TIMEOUT", "seconds"),
    ("azureblockblob_container_name", "string", "celery", "AZUREBLOCKBLOB_CONTAINER_NAME", "container"),
    ("azureblockblob_read_timeout", "int", 120, "AZUREBLOCKBLOB_READ_TIMEOUT", "seconds"),
    ("azureblockblob_retry_increment_base", "int", 2, "AZUREBLOCKBLOB_RETRY_INCREMENT_BASE", "increment base"),
    ("azureblockblob_retry_initial_backoff_sec", "int", 2, "AZUREBLOCKBLOB_RETRY_INITIAL_BACKOFF_SEC", "initial backoff"),
    ("azureblockblob_retry_max_attempts", "int", 3, "AZUREBLOCKBLOB_RETRY_MAX_ATTEMPTS", "retries"),
    ("gcs_base_path", "string", "", "GCS_BASE_PATH", "prefix"),
    ("gcs_bucket", "string", None, "GCS_BUCKET", "bucket"),
    ("gcs_project", "string", None, "GCS_PROJECT", "project"),
    ("gcs_ttl", "float", 0, "GCS_TTL", "object TTL secs; needs bucket lifecycle policy"),
    ("control_exchange", "string", "celery", "CONTROL_EXCHANGE", "pidbox namespace: exchange becomes NAME.pidbox"),
    ("control_queue_durable", "bool", False, "CONTROL_QUEUE_DURABLE", "durable; mutually exclusive with exclusive (ImproperlyConfigured)"),
    ("control_queue_exclusive", "bool", True, "CONTROL_QUEUE_EXCLUSIVE", "exclusive pidbox queues"),
    ("control_queue_expires", "float", 10.0, "CONTROL_QUEUE_EXPIRES", "x-expires (s) of unused pidbox queues"),
    ("control_queue_ttl", "float", 300.0, "CONTROL_QUEUE_TTL", "x-message-ttl (s) of pidbox queues"),
    ("couchbase_backend_settings", "dict", None, "CELERY_COUCHBASE_BACKEND_SETTINGS", "dict host,port,bucket,username,password"),
    ("arangodb_backend_settings", "dict", None, "CELERY_ARANGODB_BACKEND_SETTINGS", "dict host,port,database,collection,username,password,http_protocol,verify"),
    ("mongodb_backend_settings", "dict", None, "CELERY_MONGODB_BACKEND_SETTINGS", "dict database,taskmeta_collection,groupmeta_collection,max_pool_size,options,host,..."),
    ("cosmosdbsql_collection_name", "string", "celerycol", "COSMOSDBSQL_COLLECTION_NAME", "collection"),
    ("cosmosdbsql_consistency_level", "string", "Session", "COSMOSDBSQL_CONSISTENCY_LEVEL", "consistency"),
    ("cosmosdbsql_database_name", "string", "celerydb", "COSMOSDBSQL_DATABASE_NAME", "database"),
    ("cosmosdbsql_max_retry_attempts", "int", 9, "COSMOSDBSQL_MAX_RETRY_ATTEMPTS", "retries"),
    ("cosmosdbsql_max_retry_wait_time", "int", 30, "COSMOSDBSQL_MAX_RETRY_WAIT_TIME", "secs"),
    ("event_exchange", "string", "celeryev", "CELERY_EVENT_EXCHANGE", "event exchange name (type topic; fanout on redis etc.)"),
    ("event_queue_durable", "bool", False, "CELERY_EVENT_QUEUE_DURABLE", "durable; not together with exclusive"),
    ("event_queue_exclusive", "bool", True, "CELERY_EVENT_QUEUE_EXCLUSIVE", "exclusive receiver queue"),
    ("event_queue_expires", "float", 60.0, "CELERY_EVENT_QUEUE_EXPIRES", "x-expires (s) of monitor event queues"),
    ("event_queue_prefix", "string", "celeryev", "CELERY_EVENT_QUEUE_PREFIX", "queue name prefix of receivers"),
    ("event_queue_ttl", "float", 5.0, "CELERY_EVENT_QUEUE_TTL", "x-message-ttl (s) of events"),
    ("event_serializer", "string", "json", "CELERY_EVENT_SERIALIZER", "serializer of event messages"),
    ("redis_backend_use_ssl", "dict", None, "CELERY_REDIS_BACKEND_USE_SSL", "dict ssl_cert_reqs, ssl_ca_certs, ssl_certfile, ssl_keyfile"),
    ("redis_db", "int", None, "CELERY_REDIS_DB", "db when no URL"),
    ("redis_host", "string", None, "CELERY_REDIS_HOST", "host when no URL (localhost)"),
    ("redis_max_connections", "int", None, "CELERY_REDIS_MAX_CONNECTIONS", "result client pool cap"),
    ("redis_password", "string", None, "CELERY_REDIS_PASSWORD", "password when no URL"),
    ("redis_port", "int", None, "CELERY_REDIS_PORT", "port when no URL (6379)"),
    ("redis_retry_on_timeout", "bool", False, "CELERY_REDIS_RETRY_ON_TIMEOUT", "client option"),
    ("redis_socket_connect_timeout", "float", None, "CELERY_REDIS_SOCKET_CONNECT_TIMEOUT", "seconds"),
    ("redis_socket_keepalive", "bool", False, "CELERY_REDIS_SOCKET_KEEPALIVE", "client option"),
    ("redis_socket_timeout", "float", 120.0, "CELERY_REDIS_SOCKET_TIMEOUT", "seconds"),
    ("redis_username", "string", None, "CELERY_REDIS_USERNAME", "ACL user when no URL"),
    ("result_backend", "string", None, "CELERY_RESULT_BACKEND", "URL or class path; None = disabled"),
    ("result_backend_always_retry", "bool", False, "CELERY_RESULT_BACKEND_ALWAYS_RETRY", "retry recoverable backend errors"),
    ("result_backend_base_sleep_between_retries_ms", "int", 10, "CELERY_RESULT_BACKEND_BASE_SLEEP_BETWEEN_RETRIES_MS", "base of backend retry sleep"),
    ("result_backend_max_retries", "float", float("inf"), "CELERY_RESULT_BACKEND_MAX_RETRIES", "retries when always_retry"),
    ("result_backend_max_sleep_between_retries_ms", "int", 10000, "CELERY_RESULT_BACKEND_MAX_SLEEP_BETWEEN_RETRIES_MS", "cap of backend retry sleep"),
    ("result_backend_transport_options", "dict", {}, "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS", "dict: global_keyprefix, retry_policy, master_name, sentinel_kwargs, visibility_timeout, result_chord_ordered, additional_connection_errors..."),
    ("result_cache_max", "int", -1, "CELERY_MAX_CACHED_RESULTS", "client-side cache of results; -1 off, 0/None unlimited"),
    ("result_chord_expires", "float", None, "CELERY_RESULT_CHORD_EXPIRES", "TTL of chord bookkeeping; None = result_expires"),
    ("result_chord_join_timeout", "float", 3.0, "CELERY_RESULT_CHORD_JOIN_TIMEOUT", "seconds for joining header results"),
    ("result_chord_retry_interval", "float", 1.0, "CELERY_RESULT_CHORD_RETRY_INTERVAL", "seconds between chord_unlock polls"),
    ("result_compression", "string", None, "CELERY_RESULT_COMPRESSION", "gzip/bzip2/lzma...; None off; ignored (warning) by backends that cannot store bytes"),
    ("result_exchange", "string", "celeryresults", "CELERY_RESULT_EXCHANGE", "exchange for RPC-like results (unused by rpc which uses default exchange)"),
    ("result_exchange_type", "string", "direct", "CELERY_RESULT_EXCHANGE_TYPE", "its type"),
    ("result_expires", "float", timedelta(days=1), "CELERY_TASK_RESULT_EXPIRES", "seconds or timedelta (default 1 day); 0/None = never"),
    ("result_extended", "bool", False, "CELERY_RESULT_EXTENDED", "store name,args,kwargs,worker,retries,queue in meta"),
    ("result_failure_expires", "float", None, "CELERY_RESULT_FAILURE_EXPIRES", "TTL of failed results (redis); None = result_expires"),
    ("result_persistent", "bool", None, "CELERY_RESULT_PERSISTENT", "rpc: persistent result messages"),
    ("result_resumable", "bool", True, None, "keep the calls of tasks of workflows that failed, beside their results, so that the workflow can be resumed"),
    ("result_serializer", "string", "json", "CELERY_RESULT_SERIALIZER", "serializer of results"),
    ("elasticsearch_max_retries", "int", None, "CELERY_ELASTICSEARCH_MAX_RETRIES", "client option"),
    ("elasticsearch_retry_on_timeout", "bool", None, "CELERY_ELASTICSEARCH_RETRY_ON_TIMEOUT", "client option"),
    ("elasticsearch_save_meta_as_text", "bool", True, "CELERY_ELASTICSEARCH_SAVE_META_AS_TEXT", "store result field as text instead of nested JSON"),
    ("elasticsearch_timeout", "float", None, "CELERY_ELASTICSEARCH_TIMEOUT", "client option"),
    ("security_cert_store", "string", None, "CELERY_SECURITY_CERT_STORE", "directory or glob of trusted certs"),
    ("security_certificate", "string", None, "CELERY_SECURITY_CERTIFICATE", "X.509 file signing messages"),
    ("security_digest", "string", "sha256", "CELERY_SECURITY_DIGEST", "digest name"),
    ("security_key", "string", None, "CELERY_SECURITY_KEY", "private key file"),
    ("security_key_password", "bytes", None, "CELERY_SECURITY_KEY_PASSWORD", "bytes"),
    ("database_create_tables_at_setup", "bool", True, "DATABASE_CREATE_TABLES_AT_SETUP", "create tables on backend construction"),
    ("database_engine_callback", "any", None, "DATABASE_ENGINE_CALLBACK", "callable or dotted path called with each created engine"),
    ("database_engine_options", "dict", {"pool_pre_ping": True, "pool_recycle": 3600}, "CELERY_RESULT_ENGINE_OPTIONS", "create_engine kwargs"),
    ("database_short_lived_sessions", "bool", False, "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS", "new session per use (NullPool)"),
    ("database_table_names", "dict", None, "CELERY_RESULT_DB_TABLENAMES", "{'task': name, 'group': name}"),
    ("database_table_schemas", "dict", None, "DATABASE_TABLE_SCHEMAS", "{'task': schema, 'group': schema}"),
    ("database_url", "string", None, "CELERY_RESULT_DBURI", "SQLAlchemy URL when result_backend='database'"),
    ("task_acks_late", "bool", False, "CELERY_ACKS_LATE", "ack after run instead of before"),
    ("task_acks_on_failure", "bool", None, "CELERY_ACKS_ON_FAILURE", "with acks_late: ack when task fails; None = umbrella"),
    ("task_acks_on_failure_or_timeout", "bool", True, "CELERY_ACKS_ON_FAILURE_OR_TIMEOUT", "deprecated umbrella for the next two"),
    ("task_acks_on_timeout", "bool", None, "CELERY_ACKS_ON_TIMEOUT", "with acks_late: ack on hard timeout; None = umbrella"),
    ("task_allow_error_cb_on_chord_header", "bool", False, "CELERY_ALLOW_ERROR_CB_ON_CHORD_HEADER", "errbacks of a chord also go to header tasks"),
    ("task_always_eager", "bool", False, "CELERY_ALWAYS_EAGER", "apply_async runs locally"),
    ("task_annotations", "any", None, "CELERY_ANNOTATIONS", "dict/list/class rewriting task attributes"),
    ("task_compression", "string", None, "CELERY_MESSAGE_COMPRESSION", "message compression name"),
    ("task_create_missing_queue_exchange_type", "string", None, "CELERY_CREATE_MISSING_QUEUE_EXCHANGE_TYPE", "exchange type for auto-created queues"),
    ("task_create_missing_queue_type", "string", "classic", "CELERY_CREATE_MISSING_QUEUE_TYPE", "'classic' or 'quorum'"),
    ("task_create_missing_queues", "bool", True, "CELERY_CREATE_MISSING_QUEUES", "auto-declare unknown queues"),
    ("task_default_delivery_mode", "string", 2, "CELERY_DEFAULT_DELIVERY_MODE", "2/'persistent' or 1/'transient'"),
    ("task_default_exchange", "string", None, "CELERY_DEFAULT_EXCHANGE", "None = queue name"),
    ("task_default_exchange_type", "string", "direct", "CELERY_DEFAULT_EXCHANGE_TYPE", "type"),
    ("task_default_priority", "string", None, "CELERY_DEFAULT_PRIORITY", "priority for all tasks"),
    ("task_default_queue", "string", "celery", "CELERY_DEFAULT_QUEUE", "default queue name"),
    ("task_default_queue_type", "string", "classic", "CELERY_DEFAULT_QUEUE_TYPE", "'classic'/'quorum'"),
    ("task_default_rate_limit", "string", None, "CELERY_DEFAULT_RATE_LIMIT", "rate limit for all tasks"),
    ("task_default_routing_key", "string", None, "CELERY_DEFAULT_ROUTING_KEY", "None = queue name"),
    ("task_eager_propagates", "bool", False, "CELERY_EAGER_PROPAGATES_EXCEPTIONS", "eager: re-raise task errors"),
    ("task_ignore_result", "bool", False, "CELERY_IGNORE_RESULT", "default ignore_result"),
    ("task_max_deliveries", "int", 5, None, "deliveries of a message whose worker dies each time, then it is dead-lettered; 0 or None: no limit"),
    ("task_inherit_parent_priority", "bool", False, "CELERY_INHERIT_PARENT_PRIORITY", "subtasks default to parent's priority"),
    ("task_protocol", "int", 2, "CELERY_TASK_PROTOCOL", "message protocol 1 or 2"),
    ("task_publish_retry", "bool", True, "CELERY_TASK_PUBLISH_RETRY", "retry publishing"),
    ("task_publish_retry_policy", "dict", {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2}, "CELERY_TASK_PUBLISH_RETRY_POLICY", "kombu retry policy"),
    ("task_publish_timeout", "float", 10.0, None, "seconds for one publish, retries included, then OperationalError; None: no deadline"),
    ("task_queue_max_priority", "int", None, "CELERY_QUEUE_MAX_PRIORITY", "x-max-priority for queues without one"),
    ("task_queues", "dict", None, "CELERY_QUEUES", "list of Queue or dict name->options; None = one default queue"),
    ("task_reject_on_failure", "bool", False, None, "a failed task is a dead letter: late acknowledgement, and none of failures"),
    ("task_reject_on_worker_lost", "bool", None, "CELERY_REJECT_ON_WORKER_LOST", "with acks_late: requeue if child dies"),
    ("task_remote_tracebacks", "bool", False, "CELERY_REMOTE_TRACEBACKS", "pickle tracebacks with tblib"),
    ("task_repr_maxlevels", "int", 3, "CELERY_REPR_MAXLEVELS", "nesting depth of argsrepr/kwargsrepr"),
    ("task_retry_on_worker_lost", "bool", False, "CELERY_RETRY_ON_WORKER_LOST", "re-send like retry() if child dies (counts retries)"),
    ("task_routes", "any", None, "CELERY_ROUTES", "routers, see routing"),
    ("task_send_sent_event", "bool", False, "CELERY_SEND_TASK_SENT_EVENT", "clients publish task-sent"),
    ("task_serializer", "string", "json", "CELERY_TASK_SERIALIZER", "default serializer"),
    ("task_soft_time_limit", "float", None, "CELERYD_TASK_SOFT_TIME_LIMIT", "SoftTimeLimitExceeded raised in task after N s"),
    ("task_store_eager_result", "bool", False, "CELERY_STORE_EAGER_RESULT", "eager: store results in backend"),
    ("task_store_errors_even_if_ignored", "bool", False, "CELERY_STORE_ERRORS_EVEN_IF_IGNORED", "store failures despite ignore_result"),
    ("task_time_limit", "float", None, "CELERYD_TASK_TIME_LIMIT", "worker child killed after N s"),
    ("task_track_started", "bool", False, "CELERY_TRACK_STARTED", "report STARTED"),
    ("task_unknown", "string", "reject", None, "a task this worker does not know: 'reject' fails it at once, 'park' offers it again for an hour first"),
    ("worker_agent", "string", None, "CELERYD_AGENT", "class path for the Agent bootstep"),
    ("worker_autoscaler", "string", "celery.worker.autoscale:Autoscaler", "CELERYD_AUTOSCALER", "autoscaler class"),
    ("worker_cancel_long_running_tasks_on_connection_loss", "bool", False, "CELERYD_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS", "cancel acks_late tasks when connection lost"),
    ("worker_concurrency", "any", None, "CELERYD_CONCURRENCY", "pool size; None/0 = CPU count; 'auto' = cgroup quota aware"),
    ("worker_consumer", "string", "celery.worker.consumer:Consumer", "CELERYD_CONSUMER", "Consumer class"),
    ("worker_deduplicate_successful_tasks", "bool", False, "CELERYD_DEDUPLICATE_SUCCESSFUL_TASKS", "acks_late+persistent backend: skip redelivered ids already SUCCESS"),
    ("worker_detect_quorum_queues", "bool", True, "CELERYD_DETECT_QUORUM_QUEUES", "disable global QoS when a quorum queue is declared"),
    ("worker_direct", "bool", False, "CELERY_WORKER_DIRECT", "each worker also consumes queue `NODENAME.dq2` (exchange `C.dq2`, routing key NODENAME)"),
    ("worker_disable_prefetch", "bool", False, "CELERYD_DISABLE_PREFETCH", "redis only: fetch only when a slot is free"),
    ("worker_disable_rate_limits", "bool", False, "CELERY_DISABLE_RATE_LIMITS", "ignore rate limits"),
    ("worker_enable_prefetch_count_reduction", "bool", True, "CELERYD_ENABLE_PREFETCH_COUNT_REDUCTION", "after reconnect lower prefetch until old tasks finish"),
    ("worker_enable_remote_control", "bool", True, "CELERY_ENABLE_REMOTE_CONTROL", "start pidbox"),
    ("worker_enable_soft_shutdown_on_idle", "bool", False, "CELERYD_ENABLE_SOFT_SHUTDOWN_ON_IDLE", "wait even with no active tasks"),
    ("worker_eta_task_limit", "int", None, "CELERYD_ETA_TASK_LIMIT", "max ETA tasks held (None unlimited)"),
    ("worker_hijack_root_logger", "bool", True, "CELERYD_HIJACK_ROOT_LOGGER", "replace root handlers"),
    ("worker_log_color", "bool", None, "CELERYD_LOG_COLOR", "None = on when tty"),
    ("worker_log_datefmt", "string", None, "CELERYD_LOG_DATEFMT", "strftime for logs"),
    ("worker_log_format", "string", DEFAULT_PROCESS_LOG_FMT, "CELERYD_LOG_FORMAT", "main log format"),
    ("worker_lost_wait", "float", 10.0, "CELERYD_WORKER_LOST_WAIT", "seconds to wait before declaring a dead child lost"),
    ("worker_max_memory_per_child", "int", None, "CELERYD_MAX_MEMORY_PER_CHILD", "KiB RSS then recycle"),
    ("worker_max_tasks_per_child", "int", None, "CELERYD_MAX_TASKS_PER_CHILD", "tasks then recycle"),
    ("worker_pool", "string", "prefork", "CELERYD_POOL", "pool alias or class"),
    ("worker_pool_putlocks", "bool", True, "CELERYD_POOL_PUTLOCKS", "prefork semaphore guarding"),
    ("worker_pool_restarts", "bool", False, "CELERYD_POOL_RESTARTS", "allow pool_restart command"),
    ("worker_pool_start_method", "string", "fork", "CELERYD_POOL_START_METHOD", "fork or spawn"),
    ("worker_prefetch_multiplier", "int", 4, "CELERYD_PREFETCH_MULTIPLIER", "prefetch = this * concurrency; 0 = unlimited"),
    ("worker_proc_alive_timeout", "float", 4.0, "CELERYD_PROC_ALIVE_TIMEOUT", "seconds for a new child to report up"),
    ("worker_redirect_stdouts", "bool", True, "CELERY_REDIRECT_STDOUTS", "capture stdout/stderr into logs"),
    ("worker_redirect_stdouts_level", "string", "WARNING", "CELERY_REDIRECT_STDOUTS_LEVEL", "level of those records"),
    ("worker_send_task_events", "bool", False, "CELERY_SEND_EVENTS", "-E"),
    ("worker_shutdown_grace", "float", None, None, "seconds a warm shutdown waits, then running late-ack tasks are requeued; None: as long as they run"),
    ("worker_soft_shutdown_timeout", "float", 0.0, "CELERYD_SOFT_SHUTDOWN_TIMEOUT", "seconds of soft shutdown before cold"),
    ("worker_state_db", "string", None, "CELERYD_STATE_DB", "persistent revokes file"),
    ("worker_task_log_datefmt", "string", None, "CELERYD_TASK_LOG_DATEFMT", "strftime for task logger"),
    ("worker_task_log_format", "string", DEFAULT_TASK_LOG_FMT, "CELERYD_TASK_LOG_FORMAT", "task logger format"),
    ("worker_timer", "string", None, "CELERYD_TIMER", "Timer class (default from pool)"),
    ("worker_timer_precision", "float", 1.0, "CELERYD_TIMER_PRECISION", "max sleep of ETA timer"),
))
# fmt: on

#: Settings that are read but have no default entry: absent unless somebody sets them.
UNLISTED: dict[str, str] = {
    "redis_backend_health_check_interval": "float",
    "redis_backend_credential_provider": "any",
    "redis_client_name": "string",
    "result_backend_thread_safe": "bool",
    "dynamodb_endpoint_url": "string",
    "gcs_threadpool_maxsize": "int",
    "firestore_project": "string",
    "cassandra_secure_bundle_path": "string",
    "override_backends": "dict",
} | {
    f"{program}_{option}": "string"
    for program in ("worker", "beat", "events")
    for option in ("logfile", "pidfile", "uid", "gid", "umask", "executable")
}

#: Settings that are not of a family.
_TOP_LEVEL = frozenset(
    ("accept_content", "result_accept_content", "enable_utc", "imports", "include", "timezone", "fleet",
     "embedded_store", "embedded_store_synchronous")
)  # fmt: skip


class Namespace(dict[str, Any]):
    """A family of settings: rest of the name to `Option`."""

    def __init__(self, __old__: Iterable[str] | None = None, **options: Option) -> None:
        super().__init__(options)
        if __old__ is not None:
            for key, option in options.items():
                if not option.old:
                    option.old = {form.format(key) for form in __old__}


def _build_namespaces() -> Namespace:
    root = Namespace()
    for row in SETTINGS:
        old = {row.old.lower()} if row.old else set()
        option = Option(row.default, type=row.type, old=old, doc=row.doc)
        if row.name in _TOP_LEVEL:
            root[row.name] = option
        else:
            family, _, rest = row.name.partition("_")
            root.setdefault(family, Namespace())[rest] = option
    return root


if TYPE_CHECKING:
    NAMESPACES: Namespace


def __getattr__(name: str) -> Any:
    """`NAMESPACES`, made when somebody asks for it: a tenth of a megabyte that nothing of ours needs."""
    if name != "NAMESPACES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = made = _build_namespaces()
    return made


def flatten(
    d: Mapping[str, Any],
    root: str = "",
    keyfilter: Callable[[str, str, Option], Iterable[tuple[str, Any]]] | None = None,
) -> Iterator[tuple[str, Any]]:
    """Walk nested namespaces; yields `(full name, Option)` or what `keyfilter(ns, key, option)` yields."""
    families: list[tuple[str, Mapping[str, Any]]] = [(root, d)]
    while families:
        prefix, options = families.pop(0)
        for key, option in options.items():
            if isinstance(option, dict):
                families.append((f"{prefix}{key}_", option))
            elif keyfilter is None:
                yield prefix + key, option
            else:
                yield from keyfilter(prefix, key, option)


DEFAULTS: dict[str, Any] = {row.name: row.default for row in SETTINGS}
SETTING_KEYS: set[str] = set(DEFAULTS)
BY_NAME: dict[str, Setting] = {row.name: row for row in SETTINGS}
NEW_TO_OLD: dict[str, str] = {row.name: row.old for row in SETTINGS if row.old}
OLD_TO_NEW: dict[str, str] = {old: new for new, old in NEW_TO_OLD.items()}


def find_deprecated_settings(source: Any) -> Any:
    """Warn about each deprecated setting that `source` sets; returns `source`.

    No setting is deprecated without having a new name, so there is nothing to warn about here: old names
    are reported by `Settings.maybe_warn_deprecated_settings`.
    """
    return source


def find(name: str, namespace: str = "celery") -> searchresult:
    """Find a setting by its name, or by its name less its family's prefix.

    Args:
        namespace: the family to look in first.

    Returns:
        `(namespace, key, Option)`; namespace is None when `name` is a whole name.

    Raises:
        KeyError: there is no such setting.
    """
    namespace = namespace.lower()
    families: Namespace = sys.modules[__name__].NAMESPACES
    family = families.get(namespace)
    if isinstance(family, dict) and name.lower() in family:
        return searchresult(namespace, name.lower(), family[name.lower()])
    for key, option in families.items():
        if key == name.lower():
            return searchresult(None, key, option)
        if isinstance(option, dict) and name.lower() in option:
            return searchresult(key, name.lower(), option[name.lower()])
    for key, option in flatten(families):
        if key == name.lower():
            return searchresult(None, key, option)
    raise KeyError(name)
