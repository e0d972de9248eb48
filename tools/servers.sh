#!/bin/sh
# Install the servers that the tests start (privately, on free loopback ports): Debian packages, when missing and allowed.
set -eu
missing=""
want() { # want PROGRAM PACKAGE
    [ -x "$1" ] || command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
want redis-server redis-server
want redis-sentinel redis-sentinel
want /usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
want /usr/sbin/mariadbd mariadb-server
want /usr/bin/memcached memcached
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "The tests need servers that are not installed. Debian: sudo apt-get install$missing" >&2
    exit 1
fi
echo "Installing$missing ..."
# Nothing must start by itself: the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    trap 'rm -f $policy' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
