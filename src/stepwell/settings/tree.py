"""A tree of settings whose every value knows where it was written.

The file, the environment and code are each read into such a tree; the trees are laid over each
other and only then checked, so that a complaint can name the line or the variable a value came
from.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

Location = tuple[str | int, ...]


@dataclass(slots=True, repr=False, eq=False)
class Value:
    """One value: a scalar, a list of Values, or a dict of Values by name.

    Attributes:
        data: The value.
        path: `chains.default[1]`; empty at the root.
        source: The file or variable it was written in; empty for code.
        line: Line in the file, counted from 1; 0 where there is none.
        private: It came from the environment, and is not shown.
        variables: The environment variables that it names, set or not.
        broken: What was wrong with it when it was read; it is not looked at any further, and is
            told only if nothing overrides the value.
    """

    data: Any
    path: str = ""
    source: str = ""
    line: int = 0
    private: bool = False
    variables: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the data: a tree holds keys as they were written."""
        return f"Value({self.path or 'root'} at {self.where or 'code'})"

    @property
    def where(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source

    def complain(self, text: str) -> str:
        """Return one line: where, path, and what is wrong."""
        return ": ".join(part for part in (self.where, self.path, text) if part)

    def get(self, name: str) -> "Value | None":
        found = self.data.get(name) if isinstance(self.data, dict) else None
        return found if isinstance(found, Value) else None

    def items(self) -> Iterable[tuple[str, "Value"]]:
        """Return names and values of a mapping; nothing for any other value."""
        return self.data.items() if isinstance(self.data, dict) else ()

    def elements(self) -> list["Value"]:
        """Return the elements of a list; nothing for any other value."""
        return self.data if isinstance(self.data, list) else []

    def children(self) -> Iterator["Value"]:
        yield from self.elements()
        yield from (value for _, value in self.items())

    def walk(self) -> Iterator["Value"]:
        """Return this value and all below it."""
        yield self
        for child in self.children():
            yield from child.walk()

    def at(self, location: Iterable[str | int]) -> "Value":
        """Follow a location as far as it goes.

        A short form stands for a longer one (a list of steps for `{steps: [...]}`, a text for
        `{key: ...}`), so a name that is looked up in a list or a scalar stays where it is.
        """
        here = self
        for part in location:
            if isinstance(part, str) and isinstance(here.data, dict):
                below = here.data.get(part)
            elif isinstance(part, int) and isinstance(here.data, list):
                below = here.data[part] if part < len(here.data) else None
            else:
                continue
            if below is None:
                break
            here = below
        return here

    def plain(self) -> Any:
        """Return the data alone."""
        if isinstance(self.data, dict):
            return {name: value.plain() for name, value in self.data.items()}
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        return self.data

    def without(self, removed: Collection["Value"]) -> "Value":
        """Return a copy that lacks the values whose paths are among those of `removed`."""
        paths = {value.path for value in removed}

        def pruned(value: Value) -> Value:
            if isinstance(value.data, dict):
                kept = {n: pruned(v) for n, v in value.data.items() if v.path not in paths}
                return replace(value, data=kept)
            if isinstance(value.data, list):
                return replace(value, data=[pruned(v) for v in value.data if v.path not in paths])
            return value

        return pruned(self)

    def over(self, lower: "Value") -> "Value":
        """Lay this tree over another: mappings merge, anything else replaces what is below."""
        if not (isinstance(self.data, dict) and isinstance(lower.data, dict)):
            return self
        merged = dict(lower.data)
        for name, value in self.data.items():
            merged[name] = value.over(merged[name]) if name in merged else value
        return replace(lower, data=merged)


def tree_of(data: Any, *, path: str = "", source: str = "", private: bool = False) -> Value:
    """Return the tree of plain data: what code or a JSON text gave."""

    def below(part: str | int, value: Any) -> Value:
        return tree_of(value, path=joined(path, part), source=source, private=private)

    if isinstance(data, Mapping):
        data = {str(name): below(str(name), value) for name, value in data.items()}
    elif isinstance(data, list | tuple):
        data = [below(index, value) for index, value in enumerate(data)]
    return Value(data, path, source, private=private)


def joined(path: str, part: str | int) -> str:
    """Return the path of a child: `a.b` or `a[0]`."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    return f"{path}.{part}" if path else part
