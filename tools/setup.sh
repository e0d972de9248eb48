#!/bin/sh
# Make the virtual environment $1 with the dependency group $2 (demo, dev): needs only Python 3.11+ with the venv module.
set -eu
venv=$1
group=$2
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "celeriac needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1 || echo missing)." >&2
    echo "Install one (Debian: apt-get install python3 python3-venv) or run: make PYTHON=/path/to/python3.11" >&2
    exit 1
}
"$python" -c 'import ensurepip, venv' 2>/dev/null || {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq python3-venv
    else
        echo "Python's venv module is missing (Debian: apt-get install python3-venv)." >&2
        exit 1
    fi
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "Setting up $venv ..."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --group "$group" --editable .
[ "$group" = dev ] || exit 0
# Azurite is an npm package; the tests of Azure's storage are left out where there is no npm.
if command -v npm >/dev/null && [ ! -x .venvs/azurite/node_modules/.bin/azurite-blob ]; then
    npm install --silent --no-audit --no-fund --prefix .venvs/azurite azurite || echo "azurite could not be installed" >&2
fi
