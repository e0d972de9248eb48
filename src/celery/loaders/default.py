"""The loader of the application made on demand when a program has none: it reads `celeryconfig`."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from celery.exceptions import NotConfigured
from celery.utils.imports import NotAPackage, find_module

from .base import BaseLoader

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("DEFAULT_CONFIG_MODULE", "Loader")

DEFAULT_CONFIG_MODULE = "celeryconfig"


class Loader(BaseLoader):
    """Reads the module named by `CELERY_CONFIG_MODULE`, else `celeryconfig` if there is one."""

    def setup_settings(self, settingsdict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Hook: the configuration, before it is used."""
        return settingsdict

    def read_configuration(  # type: ignore[override]  # Celery's signature
        self, fail_silently: bool = True
    ) -> Mapping[str, Any]:
        """Import the configuration module.

        Args:
            fail_silently: no module is no error (a warning if the environment has `C_WNOCONF`).

        Raises:
            ModuleNotFoundError: there is none, and `fail_silently` is off.
            NotAPackage: it is named with its `.py`.
        """
        name = os.environ.get("CELERY_CONFIG_MODULE") or DEFAULT_CONFIG_MODULE
        try:
            found = self._import_config_module(name)
        except NotAPackage:
            raise
        except ModuleNotFoundError as error:
            if not fail_silently or error.name not in (name, name.partition(".")[0]):
                raise
            if os.environ.get("C_WNOCONF"):
                warnings.warn(
                    NotConfigured(
                        f"No {name} module found! Please make sure it exists and is available to Python."
                    ),
                    stacklevel=2,
                )
            return self.setup_settings({})
        self.configured = True
        return self.setup_settings(found)

    def find_module(self, module: str) -> Any:
        """See `celery.utils.imports.find_module`."""
        return find_module(module)
