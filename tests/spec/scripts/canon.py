"""Say workflows and messages so that two runs, and two implementations, say the same."""

import json
import re

UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


class Names:
    """Gives ids short names, in the order in which they are seen: <1>, <2>."""

    def __init__(self, **known):
        self._names = {value: f"<{name}>" for name, value in known.items()}
        self._known = len(known)

    def __call__(self, text):
        return UUID.sub(lambda found: self._names.setdefault(found[0], f"<{self._next()}>"), text)

    def _next(self):
        return len(self._names) - self._known + 1


def as_json(value, names=None):
    """JSON with sorted keys and ids by name; what is no JSON as its repr."""
    return (names or Names())(json.dumps(value, sort_keys=True, default=repr))


def shape(sig):
    """A workflow in a line: `chain(a(1), chord([b, c!], d){queue='q'})`; `!` marks what is immutable."""
    kwargs, kind = dict(sig.get("kwargs") or {}), sig.get("subtask_type")
    args = [*map(_word, sig.get("args") or ())]
    name = kind or sig["task"]
    if kind == "chord":
        header, body = kwargs.pop("header"), kwargs.pop("body")
        grouped = isinstance(header, dict) and any(header["options"].values())
        args.insert(0, shape(header) if grouped else f"[{_all(_members(header))}]")
        args.insert(1, shape(body) if body else "None")
        if not kwargs.get("kwargs"):
            kwargs.pop("kwargs", None)
    elif kind in ("chain", "group"):
        args.insert(0, _all(kwargs.pop("tasks")))
    words = ", ".join([*args, *_pairs(kwargs)])
    said = f"{name}({words})" if words or kind else name
    said += "!" if sig.get("immutable") else ""
    return said + options(sig).removesuffix("{}")


def _members(header):
    return header["kwargs"]["tasks"] if isinstance(header, dict) else header


def options(sig):
    """Its options, in order."""
    return f"{{{', '.join(_pairs(sig.get('options') or {}))}}}"


def _all(sigs):
    return ", ".join(map(shape, sigs))


def _pairs(mapping):
    """Without what says as much as nothing; stamped headers come from a set."""
    return [
        f"{key}={_word(sorted(value) if key == 'stamped_headers' and value else value)}"
        for key, value in sorted(mapping.items())
        if value is not None and (key, value) != ("stamped_headers", [])
    ]


def _word(value):
    if isinstance(value, dict) and "task" in value:
        return shape(value)
    if isinstance(value, dict):
        return f"{{{', '.join(_pairs(value))}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_word, value))}]"
    return repr(value)


def tree(result):
    """A result and its parents by kind: `Async < Group[Async Async]`."""
    if result is None:
        return "None"
    kind = type(result).__name__.removesuffix("Result")
    inner = f"[{' '.join(map(tree, result.results))}]" if hasattr(result, "results") else ""
    return kind + inner + (f" < {tree(result.parent)}" if result.parent is not None else "")
