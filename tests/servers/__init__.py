"""Private servers for tests: each on a free loopback port, with its state in a temporary folder, ended with the tests.

A server is a context manager, and a fixture of `tests/conftest.py` where many tests can share one:

| fixture | scope | gives |
|---|---|---|
| `redis_server` | session | one `RedisServer` for all tests of a process; take a clean database by `redis_url` |
| `redis_url` | function | URL of an emptied database of it |
| `private_redis` | function | a `RedisServer` of the test's own: kill it, freeze it, restart it |
| `rabbitmq_server` | session | one `RabbitServer` for all tests of a process (a node takes seconds to start) |
| `amqp_url` | function | URL of a fresh vhost of it |
| `private_rabbitmq` | module | a `RabbitServer` that the tests of a module may kill and restart |
| `postgres_url`, `mariadb_url` | function | SQLAlchemy URL of an empty database of a session's `PostgresServer`, `MariaServer` |
| `memcached_server` | session | a `MemcachedServer` |
| `aws_url` | function | endpoint of a session's `MotoServer`, emptied |
| `google_server`, `azurite_server` | session | emulators of cloud storages |
| `stock_celery` | session | `StockCelery`: a Python with the real Celery 5.7.0, in a virtual environment of its own |

`Process` (process.py) can `kill()`, `freeze()`, `thaw()`, `stop()` and `start()` again on the same port.
`Proxy` (proxy.py) stands between a client and a server, and cuts, stalls, delays or resets connections.
"""
