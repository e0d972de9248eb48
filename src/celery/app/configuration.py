"""Reading an application's configuration: its source, the style of its names, the layers of `Settings`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from celery.exceptions import ImproperlyConfigured

from .checks import EnvironmentLayer, warn_near_misses
from .defaults import NEW_TO_OLD, OLD_TO_NEW
from .settings import Settings, canonical, copy_of_defaults, with_underscore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

E_MIX_OLD_INTO_NEW = """

Cannot mix new and old setting keys, please rename the
following settings to the new format:

{renames}

"""
E_MIX_NEW_INTO_OLD = """

Cannot mix new setting names with old setting names, please
rename the following settings to use the old format:

{renames}

Or change all of the settings to use the new format :)

"""
ERR_ENVVAR_NOT_SET = """
The environment variable {0!r} is not set,
and as such the configuration could not be loaded.

Please set this variable and make sure it points to
a valid configuration module.

Example:
    {0}="proj.celeryconfig"
"""
FMT_REPLACE_SETTING = "{replace:<36} -> {with_}"


class ConfigRecord(msgspec.Struct):
    """What an application was told about its configuration before anything was read.

    Attributes:
        source: as given to `config_from_object`: module name, module, class, instance, mapping; None: the
            loader's own.
        silent: a source that cannot be imported is no error.
        namespace: prefix of the names in the source.
        defaults: given to `add_defaults`, in that order: mappings, or functions that return one.
    """

    source: Any = None
    silent: bool = False
    namespace: str | None = None
    defaults: list[Mapping[str, Any] | Callable[[], Mapping[str, Any]]] = msgspec.field(default_factory=list)


def module_from_environment(variable: str, *, silent: bool) -> str | None:
    """Return the name of the configuration module that an environment variable has; None if it has none.

    Raises:
        ImproperlyConfigured: it has none, and `silent` is false.
    """
    module = os.environ.get(variable)
    if not module and not silent:
        raise ImproperlyConfigured(ERR_ENVVAR_NOT_SET.strip().format(variable))
    return module or None


def load_settings(app: Any) -> Settings:
    """Read `app`'s configuration into `app.conf` and return it.

    Uses `app.conf` (a `Settings.pending(presets, load)`), `app.config_record` (a `ConfigRecord`),
    `app.loader` and `app.prepare_config(mapping)`. Meant to be called by the `load` that the pending settings
    were made with, between the signals `on_configure` and `on_after_configure`:

        self.conf = Settings.pending(presets, self._load_config)   # in Celery.__init__
        def _load_config(self, conf):
            self.on_configure.send(sender=self)
            load_settings(self)
            ...
            self.on_after_configure.send(sender=self, source=conf)

    Reading a new source later: replace `app.config_record.source`, call `app.conf.forget()`; with `force`
    also `app.conf.finalize()`.

    Raises:
        ImproperlyConfigured: old and new names are mixed.
        ImportError: the source cannot be imported and is not silent.
    """
    record: ConfigRecord = app.config_record
    if record.source is not None:
        app.loader.config_from_object(record.source, silent=record.silent)
    source = app.prepare_config(app.loader.conf)
    prefix = with_underscore(record.namespace)
    conf: Settings = app.conf
    deprecated = set() if prefix else check_spelling(source)
    warn_near_misses(source, source, namespace=prefix, stacklevel=6)
    extra = [canonical(item() if callable(item) else item) for item in reversed(record.defaults)]
    conf.install(
        [EnvironmentLayer(), *extra, source, copy_of_defaults()],
        prefix=prefix,
        deprecated_settings=deprecated,
    )
    return conf


def check_spelling(source: Iterable[str]) -> set[str]:
    """Make sure that a source does not mix old and new names; giving a setting in both styles is allowed.

    Returns:
        The old names it uses.

    Raises:
        ImproperlyConfigured: listing what to rename, into the style that most of its names have.
    """
    names = set(source)
    new, old = names & NEW_TO_OLD.keys(), names & OLD_TO_NEW.keys()
    if len(new) >= len(old):
        wrong = {name: OLD_TO_NEW[name] for name in sorted(old) if OLD_TO_NEW[name] not in new}
        text = E_MIX_OLD_INTO_NEW
    else:
        wrong = {name: NEW_TO_OLD[name] for name in sorted(new) if NEW_TO_OLD[name] not in old}
        text = E_MIX_NEW_INTO_OLD
    if wrong:
        lines = [FMT_REPLACE_SETTING.format(replace=name, with_=right) for name, right in wrong.items()]
        raise ImproperlyConfigured(text.format(renames="\n".join(lines)))
    return old
