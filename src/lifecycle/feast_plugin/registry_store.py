"""Feast's file registry, in a folder that may not be there yet: the project's home before its first run."""

from __future__ import annotations

from typing import Any

from feast.infra.registry.file import FileRegistryStore


class LifecycleRegistryStore(FileRegistryStore):
    """Keeps the registry in one file; Feast's own makes the file's folder, but not the folders above it."""

    def update_registry_proto(self, registry_proto: Any) -> None:
        """Write the registry, making its folder first."""
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        super().update_registry_proto(registry_proto)
