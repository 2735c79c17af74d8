"""Snakemake's plan without pauses."""

import functools
import gc
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

# Objects that Python makes until it looks for dead ones among them. Its own number is 700.
YOUNG = 200_000


def collect_rarely(dag_class: Any) -> None:
    """Let Python look for dead objects rarely while Snakemake plans. A second call does nothing.

    A plan makes millions of objects, and nearly all of them live as long as the plan. Python looks over them again and
    again. It must not stop altogether: a client of S3 leaves many dead objects behind each request.
    """
    init: Callable[..., Awaitable[None]] | None = getattr(dag_class, "init", None)
    if not inspect.iscoroutinefunction(init) or hasattr(init, "collects_rarely"):
        return

    @functools.wraps(init)
    async def plan(*arguments: Any, **keywords: Any) -> None:
        usual = gc.get_threshold()
        gc.set_threshold(max(YOUNG, usual[0]) if usual[0] else 0, *usual[1:])  # 0: somebody has switched it off
        try:
            await init(*arguments, **keywords)
        finally:
            gc.set_threshold(*usual)

    plan.collects_rarely = True  # type: ignore[attr-defined]
    dag_class.init = plan
