"""What every loader does: import configuration, parse settings of the command line, discover task modules."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from celery import signals
from celery.utils.imports import NotAPackage, find_module, import_from_cwd, symbol_by_name

__all__ = ("BaseLoader", "autodiscover_tasks", "find_related_module")

CONFIG_INVALID_NAME = """
Error: Module '{module}' doesn't exist, or it's not a valid \
Python module name.
"""
CONFIG_WITH_SUFFIX = (
    CONFIG_INVALID_NAME
    + """\
Did you mean '{suggest}'?
"""
)

_TYPE_PREFIX = re.compile(r"\((\w+)\)")
_UNREAD: Mapping[str, Any] = {}


class AttributeMapping(Mapping[str, Any]):
    """The public attributes of a module, class or instance, as a mapping."""

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self.obj, name)
        except AttributeError:
            raise KeyError(name) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and hasattr(self.obj, name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in dir(self.obj) if not name.startswith("_"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.obj!r}>"


class BaseLoader:
    """Base of loaders.

    Args:
        app: the application it loads for.

    Hooks, each called with nothing unless said: `on_task_init(task_id, task)` before a task runs,
    `on_process_cleanup()` after one, `on_worker_init()`, `on_worker_process_init()`, `on_worker_shutdown()`.
    """

    builtin_modules: Iterable[str] = frozenset()
    configured = False
    override_backends: Mapping[str, Any] = {}
    worker_initialized = False

    def __init__(self, app: Any, **kwargs: Any) -> None:
        self.app = app
        self.task_modules: set[str] = set()
        self._conf: Mapping[str, Any] = _UNREAD

    # -- hooks

    def now(self, utc: bool = True) -> datetime:
        """The time: aware in UTC, or naive local time."""
        return datetime.now(UTC) if utc else datetime.now()

    def on_task_init(self, task_id: str, task: Any) -> None:
        """Before a task runs."""

    def on_process_cleanup(self) -> None:
        """After a task ran."""

    def on_worker_init(self) -> None:
        """When a worker starts."""

    def on_worker_shutdown(self) -> None:
        """When a worker stops."""

    def on_worker_process_init(self) -> None:
        """When a child process of a worker starts."""

    # -- importing

    def import_task_module(self, module: str) -> Any:
        """Import a module that has tasks, and remember its name in `task_modules`."""
        self.task_modules.add(module)
        return self.import_from_cwd(module)

    def import_module(self, module: str, package: str | None = None) -> Any:
        """Import a module by name."""
        return importlib.import_module(module, package=package)

    def import_from_cwd(
        self, module: str, imp: Callable[..., Any] | None = None, package: str | None = None
    ) -> Any:
        """Import a module by name, from the current folder too."""
        return import_from_cwd(module, self.import_module if imp is None else imp, package=package)

    def find_module(self, module: str) -> Any:
        """See `celery.utils.imports.find_module`."""
        return find_module(module)

    def import_default_modules(self) -> list[Any]:
        """Send `import_modules`, then import what the settings `imports` and `include` name.

        Raises:
            Exception: what a receiver raised, or an import.
        """
        for _, answer in signals.import_modules.send(sender=self.app):
            if isinstance(answer, Exception):
                raise answer
        return [self.import_task_module(module) for module in self.default_modules]

    @property
    def default_modules(self) -> tuple[str, ...]:
        """Modules to import when a worker starts: built in, `imports`, `include`."""
        conf = self.app.conf
        return (*self.builtin_modules, *_listed(conf.imports), *_listed(conf.include))

    def init_worker(self) -> None:
        """Import the task modules, once."""
        if not self.worker_initialized:
            self.worker_initialized = True
            self.import_default_modules()
            self.on_worker_init()

    def init_worker_process(self) -> None:
        """Say that a child process has started."""
        self.on_worker_process_init()

    def shutdown_worker(self) -> None:
        """Say that the worker stops."""
        self.on_worker_shutdown()

    def autodiscover_tasks(self, packages: Iterable[str] | None, related_name: str | None = "tasks") -> None:
        """Import `package.related_name` of each package and remember which there are."""
        found = autodiscover_tasks(packages or (), related_name=related_name)
        self.task_modules.update(module.__name__ for module in found if module)

    # -- configuration

    @property
    def conf(self) -> Mapping[str, Any]:
        """The configuration source, read at first use."""
        if self._conf is _UNREAD:
            self._conf = self.read_configuration()
        return self._conf

    def read_configuration(self, env: str = "CELERY_CONFIG_MODULE") -> Mapping[str, Any]:
        """The configuration module that the environment names; empty if it names none.

        Raises:
            ModuleNotFoundError, NotAPackage: there is no such module.
        """
        name = os.environ.get(env)
        if not name:
            return {}
        found = self._import_config_module(name)
        self.configured = True
        return found

    def _import_config_module(self, name: str) -> Mapping[str, Any]:
        try:
            self.find_module(name)
        except NotAPackage as error:
            if name.endswith(".py"):
                text = CONFIG_WITH_SUFFIX.format(module=name, suggest=name[:-3])
            else:
                text = CONFIG_INVALID_NAME.format(module=name)
            raise NotAPackage(text.lstrip("\n")) from error
        return AttributeMapping(self.import_from_cwd(name))

    def config_from_object(self, obj: Any, silent: bool = False) -> bool:
        """Use `obj` as the configuration source.

        Args:
            obj: mapping, module, class, instance; or the name of one: `module`, `module:attr`, `module.attr`.
            silent: return False instead of raising.

        Raises:
            ImportError, AttributeError: there is nothing of that name.
        """
        if isinstance(obj, str):
            try:
                obj = self._smart_import(obj)
            except (ImportError, AttributeError):
                if silent:
                    return False
                raise
        self._conf = obj if isinstance(obj, Mapping) else AttributeMapping(obj)
        self.configured = True
        return True

    def _smart_import(self, path: str) -> Any:
        if ":" in path:
            try:
                return symbol_by_name(path, imp=self.import_from_cwd)
            except AttributeError as error:
                raise ModuleNotFoundError(str(error), name=path) from None
        try:
            return self.import_from_cwd(path)
        except ModuleNotFoundError as error:
            parent, _, attribute = path.rpartition(".")
            if not parent or not _is_part_of(error.name, path):
                raise
            module = self.import_from_cwd(parent)
            try:
                return getattr(module, attribute)
            except AttributeError:
                hint = f" (did you mean {parent!r}?)" if attribute == "py" else ""
                raise ModuleNotFoundError(
                    f"module {parent!r} has no attribute {attribute!r}{hint}", name=path
                ) from None

    # -- settings of the command line

    def cmdline_config_parser(
        self,
        args: Iterable[str],
        namespace: str = "celery",
        re_type: re.Pattern[str] = _TYPE_PREFIX,
        extra_types: Mapping[str, Callable[[str], Any]] | None = None,
        override_types: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Read words like `worker.prefetch_multiplier=10` as settings.

        `.key=value` and `_key=value` are of the family `namespace`; `(type)value` says the type where the
        setting's own will not do. Lists, tuples and dicts are written as JSON.

        Raises:
            KeyError: no such family, setting or type.
            ValueError: not of the form `family.key=value`, or not a value of that type.
        """
        types = dict(extra_types if extra_types is not None else {"json": json.loads})
        alike = override_types or {"tuple": "json", "list": "json", "dict": "json"}

        def convert(text: str, kind: str, option: Any) -> Any:
            kind = alike.get(kind, kind)
            reader = types.get(kind) or option.typemap[kind]
            return reader(text)

        def read(word: str) -> tuple[str, Any]:
            name, value = word.split("=", 1)
            name = name.lower().replace(".", "_")
            if name.startswith("_"):
                family, key = namespace, name[1:]
            else:
                family, key = name.split("_", 1)
            name = f"{family}_{key}"
            typed = re_type.match(value)
            if typed:
                return name, convert(value[typed.end() :], typed[1], self.app.conf.any_option())
            option = self.app.conf.option_of(family, key)
            try:
                return name, convert(value, option.type, option)
            except ValueError as error:
                raise ValueError(f"{name!r}: {error}") from None

        return dict(read(word) for word in args)


def _listed(value: Any) -> Iterable[str]:
    """Several names, or one."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _is_part_of(missing: str | None, name: str) -> bool:
    return missing is not None and (name == missing or name.startswith(f"{missing}."))


def autodiscover_tasks(packages: Iterable[str], related_name: str | None = "tasks") -> list[Any]:
    """Import `related_name` of each package; see `find_related_module`."""
    return [find_related_module(package, related_name) for package in packages]


def find_related_module(package: str, related_name: str | None) -> Any:
    """Import `package.related_name`, or `package` itself if `related_name` is None.

    `package` may be a class in a package (as Django's `AppConfig` paths are): then its package is meant.

    Returns:
        The module, or None if the package has no such module.

    Raises:
        ModuleNotFoundError: there is no such package.
        Exception: what importing an existing module raises.
    """
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        parent = package.rpartition(".")[0]
        if not parent or not _is_part_of(error.name, package):
            raise
        package = parent
    else:
        if not related_name:
            return module
    if not related_name:
        return None
    name = f"{package}.{related_name}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None
