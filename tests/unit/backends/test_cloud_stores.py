"""Cloud stores: their URLs, settings and formats, on emulators."""

from __future__ import annotations

import json
import os

import boto3
import pytest
from tests.servers.documents import ConsulServer, ElasticServer
from tests.support import wait_until

from celery import Celery
from celery.exceptions import ImproperlyConfigured


def make_app(url, **conf):
    return Celery("t", broker="memory://", backend=url, set_as_current=False, **conf)


def test_dynamodb_items_have_celerys_form(aws_url):
    url = f"dynamodb://@{aws_url.removeprefix('http://')}/mine?read=5&write=6&ttl_seconds=60"
    make_app(url).backend.mark_as_done("a", 1)
    client = boto3.client("dynamodb", endpoint_url=aws_url)
    table = client.describe_table(TableName="mine")["Table"]
    throughput = table["ProvisionedThroughput"]
    assert (throughput["ReadCapacityUnits"], throughput["WriteCapacityUnits"]) == (5, 6)
    (item,) = client.scan(TableName="mine")["Items"]
    assert item["id"] == {"S": "b'celery-task-meta-a'"}  # as Celery writes it
    assert json.loads(item["result"]["B"])["result"] == 1
    assert int(item["ttl"]["N"]) == int(float(item["timestamp"]["N"]) + 60)
    expiry = client.describe_time_to_live(TableName="mine")["TimeToLiveDescription"]
    assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "ttl")
    make_app(url.replace("=60", "=-1")).backend.mark_as_done("b", 1)
    off = client.describe_time_to_live(TableName="mine")["TimeToLiveDescription"]
    assert off["TimeToLiveStatus"] == "DISABLED"


def test_dynamodb_counts(aws_url):
    backend = make_app("dynamodb://key:secret@eu-west-1/t", dynamodb_endpoint_url=aws_url).backend
    assert [backend.incr(backend.get_key_for_chord("g")) for _ in range(3)] == [1, 2, 3]
    assert backend.aws_region == "eu-west-1"
    assert backend.as_uri() == "dynamodb://key:**@eu-west-1/t"
    with pytest.raises(ValueError, match="both the Access Key ID and Secret"):
        _ = make_app("dynamodb://key@eu-west-1").backend


def test_s3_settings(aws_url):
    client = boto3.client("s3", endpoint_url=aws_url)
    client.create_bucket(Bucket="bucket")
    backend = make_app(
        "s3://",
        s3_bucket="bucket",
        s3_endpoint_url=aws_url,
        s3_base_path="base/",
        s3_access_key_id="a",
        s3_secret_access_key="b",
        s3_region="us-east-1",
    ).backend
    backend.mark_as_done("a", 1)
    (found,) = client.list_objects(Bucket="bucket")["Contents"]
    assert found["Key"] == "base/celery-task-meta-a"
    with pytest.raises(ImproperlyConfigured, match="Missing bucket name"):
        _ = make_app("s3://").backend


def test_google_settings(google_server, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google_server.url)
    settings = {
        "gcs_bucket": "bucket",
        "gcs_project": "p",
        "gcs_base_path": "base",
        "gcs_threadpool_maxsize": 3,
    }
    backend = make_app("gs://", **settings).backend
    backend.mark_as_done("a", 1)
    assert backend.bucket.blob("base/celery-task-meta-a").exists()
    assert (backend.project, backend._threads) == ("p", 3)
    with pytest.raises(ImproperlyConfigured, match="Missing gcs_project"):
        _ = make_app("gs://bucket").backend
    with pytest.raises(ValueError, match="Invalid ttl"):
        _ = make_app("gs://bucket?ttl=-1", gcs_project="p").backend
    with pytest.raises(ValueError, match="no lifecycle rule"):
        make_app("gs://bucket", gcs_project="p", gcs_ttl=60).backend.mark_as_done("a", 1)


def test_azure_settings(azurite_server):
    name = f"c{os.urandom(4).hex()}"
    backend = make_app(
        f"azureblockblob://{azurite_server.connection_string}",
        azureblockblob_container_name=name,
        azureblockblob_base_path="base/",
        azureblockblob_connection_timeout=3,
        azureblockblob_read_timeout=4,
        azureblockblob_retry_initial_backoff_sec=1,
        azureblockblob_retry_increment_base=1,
        azureblockblob_retry_max_attempts=2,
    ).backend
    backend.mark_as_done("a", 1)
    assert [blob.name for blob in backend.client.list_blobs()] == ["base/celery-task-meta-a"]
    assert backend.client.container_name == name
    assert (backend._options["connection_timeout"], backend._options["retry_total"]) == (3, 2)
    assert backend.as_uri() == "azureblockblob://**"
    assert (
        make_app("azureblockblob://DefaultAzureCredential@https://a").backend.as_uri().endswith("@https://a")
    )
    with pytest.raises(ImproperlyConfigured, match="needs a connection string"):
        _ = make_app("azureblockblob://").backend


@pytest.fixture
def mongodb(monkeypatch):
    import mongomock

    monkeypatch.setattr("pymongo.MongoClient", mongomock.MongoClient)
    return f"d{os.urandom(4).hex()}"


def test_mongodb_documents_have_celerys_form(mongodb):
    app = make_app(f"mongodb://localhost/{mongodb}", result_expires=3600)
    backend = app.backend
    backend.mark_as_done("a", {"x": 1})
    app.GroupResult("g", [app.AsyncResult("a")]).save()
    (document,) = backend.collection.find()
    assert (document["_id"], document["status"], document["result"]) == ("a", "SUCCESS", '{"x":1}')
    (group,) = backend.group_collection.find()
    assert (group["_id"], group["result"]) == ("g", '["a"]')
    assert "date_done_1" in backend.collection.index_information()
    backend.cleanup()
    assert backend.get_state("a") == "SUCCESS"
    backend.expires = 0.001  # MongoDB's clock has milliseconds

    def gone():
        backend.cleanup()
        return backend.get_state("a") == "PENDING" and app.GroupResult.restore("g") is None

    wait_until(gone)


def test_mongodb_settings(mongodb):
    settings = {
        "database": mongodb,
        "taskmeta_collection": "tm",
        "groupmeta_collection": "gm",
        "max_pool_size": 3,
        "options": {"tz_aware": True},
        "user": "u",
        "password": "p",
    }
    backend = make_app("mongodb://", mongodb_backend_settings=settings).backend
    backend.mark_as_done("a", 1)
    assert backend.database["tm"].count_documents({}) == 1
    assert backend.options == {"maxPoolSize": 3, "tz_aware": True}
    assert (backend.user, backend.mongo_host) == ("u", "mongodb://localhost")
    several = make_app("mongodb://u:secret@h1:1,h2:2/mine?replicaSet=r").backend
    assert several.database_name == "mine"
    assert several.as_uri() == "mongodb://u:**@h1:1,h2:2/mine?replicaSet=r"


def test_metas_as_objects():
    with ElasticServer() as server:
        app = make_app(
            f"elasticsearch://127.0.0.1:{server.port}/results/doc",
            elasticsearch_save_meta_as_text=False,
            elasticsearch_timeout=5,
            elasticsearch_max_retries=2,
            elasticsearch_retry_on_timeout=True,
        )
        app.backend.mark_as_failure("a", KeyError("k"), traceback="tb")
        document = server.documents["results/celery-task-meta-a"]
        assert document["@timestamp"].endswith("Z")
        assert (document["result"]["status"], document["result"]["traceback"]) == ("FAILURE", '"tb"')
        assert isinstance(app.backend.get_result("a"), KeyError)
        assert app.backend._options == {"request_timeout": 5, "max_retries": 2, "retry_on_timeout": True}
        assert (app.backend.index, app.backend.doc_type) == ("results", "doc")


def test_consul_sessions_take_results_along():
    with ConsulServer() as server:
        app = make_app(f"consul://127.0.0.1:{server.port}/some/path", result_expires=3600)
        app.backend.mark_as_started("a", pid=1)
        app.backend.mark_as_done("a", 1)
        sessions = [value for key, value in server.documents.items() if key.startswith("session")]
        assert [(session["behavior"], session["ttl"]) for session in sessions] == [("delete", "3600s")]
        assert "some/path/celery-task-meta-a" in server.documents
        for_ever = make_app(f"consul://127.0.0.1:{server.port}/some/path", result_expires=0)
        for_ever.backend.mark_as_done("b", 1)
        assert server.documents["some/path/celery-task-meta-b"]["Session"] is None
    with pytest.raises(ImproperlyConfigured, match="has no host"):
        _ = make_app("consul://").backend
