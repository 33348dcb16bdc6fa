"""How much a core holds: every object that can be reached from it.

Room: testing.
"""

from __future__ import annotations

from gc import get_referents
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

NOT_ITS_OWN = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


def held(core: object) -> int:
    """The number of objects, shared ones once. Classes and code are nobody's own, nor is what only a function holds."""
    seen = {id(core)}
    waiting = [core]
    while waiting:
        for each in get_referents(waiting.pop()):
            if id(each) not in seen and not isinstance(each, NOT_ITS_OWN):
                seen.add(id(each))
                waiting.append(each)
    return len(seen)
