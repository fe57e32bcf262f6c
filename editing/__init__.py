"""Model editing: task vectors and merge methods. Needs only numpy and safetensors.

```python
from editing import METHODS

merged = METHODS["ties"]([{"layer.weight": array}, {"layer.weight": other}], lam=0.6, density=0.5)
```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editing.registry import METHODS
    from editing.task_vector import Origin, TaskVector, apply

__all__ = ["METHODS", "Origin", "TaskVector", "apply"]

_MODULES = {
    "METHODS": "editing.registry",
    "Origin": "editing.task_vector",
    "TaskVector": "editing.task_vector",
    "apply": "editing.task_vector",
}


def __getattr__(name: str) -> Any:
    """Imports the module of a public name on first use, because numpy is slow to load."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
