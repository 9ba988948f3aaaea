"""What a factory of a resource gives, as one async context manager: of a generator, of a manager, on loop or thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, cast

from anyio import CancelScope, current_time
from anyio import Event as Signal
from anyio._core._eventloop import set_current_async_library
from anyio.lowlevel import current_token

from orch.definition import Resource
from orch.execution._protected import exposed

__all__ = ("managed",)

_logger = logging.getLogger("orch")


def managed(resource: Resource[Any], call: Callable[[], Any], grace: float) -> AbstractAsyncContextManager[Any]:
    """Return what opens and closes a resource, given the call of its factory."""
    return _asynchronous(resource.name, call()) if resource.on_loop else _InThread(resource.name, call, grace)


def _asynchronous(name: str, made: Any) -> AbstractAsyncContextManager[Any]:
    """Return the context manager that a factory made for the event loop."""
    if isinstance(made, AsyncGenerator):
        return _Once(name, made)
    if not (hasattr(type(made), "__aenter__") and hasattr(type(made), "__aexit__")):
        raise _no_manager(name, made)
    manager: AbstractAsyncContextManager[Any] = made
    return manager


def _no_manager(name: str, made: object) -> TypeError:
    cure = "let it yield the value, or return a context manager"
    return TypeError(f"resource {name!r}: the factory gave {made!r:.100}, a {type(made).__name__}: {cure}")


def _nothing(name: str) -> RuntimeError:
    return RuntimeError(f"resource {name!r} yielded nothing: let it yield its value, once")


def _twice(name: str) -> RuntimeError:
    return RuntimeError(f"resource {name!r} yielded a second time: what follows its one yield is to close it")


class _Once(AbstractAsyncContextManager[Any]):
    """An async generator of one value. What befalls its task while it waits is raised in it, at its yield."""

    def __init__(self, name: str, generator: AsyncGenerator[Any, Any]) -> None:
        self._name = name
        self._generator = generator

    async def __aenter__(self) -> Any:
        try:
            return await anext(self._generator)
        except StopAsyncIteration:
            raise _nothing(self._name) from None

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> bool:
        try:
            await (anext(self._generator) if error is None else self._generator.athrow(error))
        except StopAsyncIteration:
            return True
        await self._generator.aclose()
        raise _twice(self._name)


for _method in (_Once.__aenter__, _Once.__aexit__):
    exposed(_method)


class _OnceInThread(AbstractContextManager[Any]):
    """A plain generator of one value."""

    def __init__(self, name: str, generator: Generator[Any, Any, Any]) -> None:
        self._name = name
        self._generator = generator

    def __enter__(self) -> Any:
        try:
            return next(self._generator)
        except StopIteration:
            raise _nothing(self._name) from None

    def __exit__(self, *_: object) -> None:
        try:
            next(self._generator)
        except StopIteration:
            return
        self._generator.close()
        raise _twice(self._name)


class _InThread(AbstractAsyncContextManager[Any]):
    """What is not async: made, entered and left in one thread of its own, a daemon that ends with it.

    Nobody can stop a thread. One that is not done opening when that is no longer wanted has as long as the grace says;
    then it is left alone, and closes what it opens by itself.
    """

    def __init__(self, name: str, call: Callable[[], Any], grace: float) -> None:
        self._name = name
        self._call = call
        self._grace = grace
        self._value: Any = None
        self._error: BaseException | None = None
        self._inner: AbstractAsyncContextManager[Any] | None = None  # it made something for the event loop
        self._told: SimpleQueue[None] = SimpleQueue()
        self._entered, self._left = Signal(), Signal()
        native: Any = current_token().native_token
        self._post: Callable[..., object] = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon
        context = copy_context()
        context.run(set_current_async_library, None)  # as anyio does: there is no event loop in a worker thread
        self._thread = threading.Thread(
            target=partial(context.run, self._main), name=f"orch-resource-{name}", daemon=True
        )

    async def __aenter__(self) -> Any:
        self._begin()
        try:
            await self._entered.wait()
        except BaseException:
            self._told.put(None)
            with CancelScope(shield=True, deadline=current_time() + self._grace):
                await self._left.wait()
            if not self._left.is_set():
                _logger.warning("resource %r is still being opened in a thread; then it will be closed", self._name)
            if self._error is not None:
                raise self._error from None
            raise
        if self._error is not None or self._inner is not None:
            with CancelScope(shield=True):  # the thread has nothing more to do
                await self._end()
        return self._value if self._inner is None else await self._inner.__aenter__()

    async def __aexit__(self, *raised: object) -> bool | None:
        if self._inner is not None:
            return await self._inner.__aexit__(*cast("Any", raised))
        self._told.put(None)
        await self._end()
        return None

    def _begin(self) -> None:
        self._thread.start()

    async def _end(self) -> None:
        await self._left.wait()
        self._join()
        if self._error is not None:
            raise self._error

    def _join(self) -> None:
        self._thread.join()  # it has done its last act: this takes microseconds

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            made = self._call()
            if hasattr(type(made), "__aenter__") or isinstance(made, AsyncGenerator):
                self._inner = _asynchronous(self._name, made)
            else:
                with self._manager(made) as self._value:
                    self._tell(self._entered)
                    self._park()
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is for those who use the resource)
            self._error = error
        finally:
            del self._call
            self._tell(self._entered)
            self._tell(self._left)

    def _manager(self, made: Any) -> AbstractContextManager[Any]:
        if isinstance(made, Generator):
            return _OnceInThread(self._name, made)
        if not hasattr(type(made), "__enter__"):
            raise _no_manager(self._name, made)
        manager: AbstractContextManager[Any] = made
        return manager

    def _park(self) -> None:
        self._told.get()

    def _tell(self, signal: Signal) -> None:
        try:
            self._post(signal.set)
        except RuntimeError:  # the loop is gone: only an abandoned thread can be so late
            _logger.debug("the thread of resource %r ended after its event loop", self._name)
