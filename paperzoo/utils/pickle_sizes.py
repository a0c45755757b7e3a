"""Measures what a checkpoint's pickle would become, before torch reads it.

A few hundred bytes can name one tuple twice, that twice again, and so on: whoever
hashes, compares or prints the last one never ends, and one that is deep enough ends the
process. `torch.load(weights_only=True)` hashes any key. So the steps of the pickle are
gone through first, with every container as the bare list of what it holds.
"""

import pickletools
from typing import Any

# So many values, each counted as often as it is reached, and so many containers in one
# another has no honest checkpoint: tensors count as one value each.
MOST_VALUES = 50_000_000
MOST_DEPTH = 1000

_Node = list[Any]
_LEAF: _Node = []
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
_EMPTY = ('EMPTY_TUPLE', 'EMPTY_LIST', 'EMPTY_DICT', 'EMPTY_SET')
_SCALARS = frozenset(
    ('NONE', 'NEWTRUE', 'NEWFALSE', 'BININT', 'BININT1', 'BININT2', 'LONG1')
) | {'BINFLOAT', 'BINUNICODE', 'SHORT_BINSTRING', 'GLOBAL'}


def is_boundless(file: Any, pickles: int = 1) -> bool:
    """Return whether pickles hold containers that never end when they are read out.

    Only the steps that torch's checking reader knows are followed: at any other that
    one stops, and so does this.

    Args:
        file: Where the first pickle begins; it is read on.
        pickles: How many follow one another.

    Example:
        >>> import io, pickle
        >>> from paperzoo.utils.pickle_sizes import is_boundless
        >>> key = ()
        >>> for _ in range(60):
        ...     key = (key, key)
        >>> is_boundless(io.BytesIO(pickle.dumps([key], protocol=2)))
        True
        >>> is_boundless(io.BytesIO(pickle.dumps({'shape': (3, 4)}, protocol=2)))
        False
    """
    for _ in range(pickles):
        steps = _Steps()
        try:
            for code, argument, _ in pickletools.genops(file):
                steps.take(code.name, argument)
        except Exception:  # Damage can be anything. What came before it counts.
            return steps.are_boundless()
        if steps.are_boundless():
            return True
    return False


class _Steps:
    """A pickle's stack, with containers as lists of what they hold."""

    def __init__(self) -> None:
        self.stack: list[_Node] = []
        self.marks: list[list[_Node]] = []
        self.memo: dict[int, _Node] = {}
        self.made: list[_Node] = []
        # What is hashed or called with, as often as that happens.
        self.used: list[_Node] = []

    def take(self, name: str, argument: Any) -> None:
        """Take a step; raise an error at one that torch refuses."""
        if name in _SCALARS:
            self.stack.append(_LEAF)
        elif name in ('BINPUT', 'LONG_BINPUT'):
            self.memo[argument] = self.stack[-1]
        elif name in ('BINGET', 'LONG_BINGET'):
            self.stack.append(self.memo[argument])
        elif name == 'MARK':
            self.marks.append(self.stack)
            self.stack = []
        elif name in _EMPTY:
            self.make([])
        elif name in _TUPLES:
            self.make(self.popped(_TUPLES[name]))
        elif name == 'TUPLE':
            self.make(self.since_mark())
        elif name not in ('PROTO', 'STOP'):
            self.put_in(name)

    def put_in(self, name: str) -> None:
        """Take a step that fills a container, or calls."""
        if name in ('APPEND', 'APPENDS'):
            self.fill(self.popped(1) if name == 'APPEND' else self.since_mark())
        elif name in ('SETITEM', 'SETITEMS'):
            items = self.popped(2) if name == 'SETITEM' else self.since_mark()
            self.used += items[::2]
            self.fill(items)
        elif name == 'BUILD':
            self.used.append(self.stack[-1])
            self.fill(self.popped(1))
        elif name in ('REDUCE', 'NEWOBJ'):
            items = self.popped(2)
            self.used += items
            self.make(items)
        elif name == 'BINPERSID':
            self.used.append(self.stack[-1])
            self.make(self.popped(1))
        else:
            raise ValueError(name)

    def make(self, items: list[_Node]) -> None:
        """Put a new container onto the stack."""
        self.stack.append(items)
        self.made.append(items)

    def fill(self, items: list[_Node]) -> None:
        """Put more into the container on top of the stack."""
        if self.stack[-1] is _LEAF:
            raise ValueError('no container')
        self.stack[-1].extend(items)

    def popped(self, number: int) -> list[_Node]:
        """Return so many from the top of the stack."""
        if len(self.stack) < number:
            raise IndexError(number)
        items = self.stack[-number:]
        del self.stack[-number:]
        return items

    def since_mark(self) -> list[_Node]:
        """Return what was put onto the stack since the last mark."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def are_boundless(self) -> bool:
        """Return whether a container is too large or too deep."""
        sizes: dict[int, tuple[int, int]] = {id(_LEAF): (1, 0)}
        for node in self.made:
            _measure(node, sizes)
        if any(
            size > MOST_VALUES or deep > MOST_DEPTH for size, deep in sizes.values()
        ):
            return True
        return sum(sizes[id(node)][0] for node in self.used) > MOST_VALUES


def _measure(node: _Node, sizes: dict[int, tuple[int, int]]) -> None:
    """Put size and depth of a container, and of all that it holds, into `sizes`."""
    # Without recursion, for it may be deeper than Python's stack. What holds itself
    # counts once more: it can be no key.
    path = [node]
    opened = set()
    while path:
        one = path[-1]
        if id(one) not in sizes and id(one) not in opened:
            opened.add(id(one))
            unknown = [new for new in one if id(new) not in sizes]
            path += [new for new in unknown if id(new) not in opened]
            if unknown:
                continue
        path.pop()
        if id(one) not in sizes:
            size, deep = 1, 0
            for new in one:
                inner = sizes.get(id(new), (1, 0))
                size += inner[0]
                deep = max(deep, inner[1])
            sizes[id(one)] = min(size, MOST_VALUES + 1), deep + 1
