"""Model editing: task vectors and merge methods. Needs only numpy and safetensors.

```python
from editing import METHODS

merged = METHODS["ties"]([{"layer.weight": array}, {"layer.weight": other}], lam=0.6, density=0.5)
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from editing.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from editing.methods import METHODS
    from editing.task_vector import Origin, TaskVector, apply

__all__ = ["METHODS", "Origin", "TaskVector", "apply"]

_MODULES = {
    "METHODS": "editing.methods",
    "Origin": "editing.task_vector",
    "TaskVector": "editing.task_vector",
    "apply": "editing.task_vector",
}

__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
