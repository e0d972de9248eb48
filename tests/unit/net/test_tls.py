"""TLS options."""

from __future__ import annotations

import ssl

import pytest

from celery.net.tls import BadTLS, make, requirement


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        ("required", ssl.CERT_REQUIRED),
        ("CERT_OPTIONAL", ssl.CERT_OPTIONAL),
        ("none", ssl.CERT_NONE),
        (ssl.CERT_NONE, ssl.CERT_NONE),
        (2, ssl.CERT_REQUIRED),
        (None, ssl.CERT_NONE),
    ],
)
def test_requirements(value, mode):
    assert requirement(value) is mode


@pytest.mark.parametrize("value", ["nein", 7, 1.5])
def test_other_requirements_are_refused(value):
    with pytest.raises(BadTLS, match="ssl_cert_reqs"):
        requirement(value)


def test_verifies_by_default():
    context = make(True).context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_the_url_wins_and_both_namings_count():
    tls = make({"cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": False}, {"ssl_cert_reqs": "none"})
    assert tls.context.verify_mode is ssl.CERT_NONE
    tls = make({"ssl_cert_reqs": "required", "check_hostname": "false", "server_hostname": "redis.local"})
    assert not tls.context.check_hostname
    assert tls.server_hostname == "redis.local"


def test_a_file_that_cannot_be_read_is_named():
    with pytest.raises(BadTLS, match=r"nowhere\.pem"):
        make({"ssl_ca_certs": "/nowhere.pem"})
