"""Wrapping functions of packages that may not be imported yet, and taking the wrappers away again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Final

import wrapt

Wrapper = Callable[..., object]


class Patches:
    """Wrappers around functions, each named by its module and its place in it, such as `Queue.push`.

    A module that is imported already is changed at once, any other when the application imports it: an
    instrumentation does not import what it is for. What is not there (another version) is passed over.
    """

    def __init__(self, *patches: tuple[str, str, Wrapper]) -> None:
        self._patches: Final = patches
        self._active = False
        self._done: list[tuple[object, str, object]] = []

    def apply(self) -> None:
        """Put the wrappers in place, now or at the import."""
        self._active = True
        for module in dict.fromkeys(module for module, _, _ in self._patches):
            if module in sys.modules:
                self._wrap(sys.modules[module])
            else:
                wrapt.register_post_import_hook(self._wrap, module)

    def remove(self) -> None:
        """Put back what was there; what others have wrapped since stays wrapped by them."""
        self._active = False
        while self._done:
            owner, name, original = self._done.pop()
            current = vars(owner).get(name)
            if isinstance(current, wrapt.FunctionWrapper) and current.__wrapped__ is original:
                setattr(owner, name, original)

    def _wrap(self, module: ModuleType) -> None:
        if not self._active:
            return
        for home, place, wrapper in self._patches:
            if home != module.__name__:
                continue
            owner: object = module
            *path, name = place.split(".")
            for part in path:
                owner = getattr(owner, part, None)
            original = vars(owner).get(name) if owner is not None else None
            if callable(original):
                setattr(owner, name, wrapt.FunctionWrapper(original, self._switch(wrapper)))
                self._done.append((owner, name, original))

    def _switch(self, wrapper: Wrapper) -> Wrapper:
        """The wrapper while the patches hold: functions that were imported by name stay wrapped for good."""

        def call(
            wrapped: Callable[..., object],
            instance: object,
            args: tuple[object, ...],
            kwargs: Mapping[str, object],
        ) -> object:
            if not self._active:
                return wrapped(*args, **kwargs)
            return wrapper(wrapped, instance, args, kwargs)

        return call
