"""Say what a user sees: one line for each question, the same on Celery 5.7.0 and here."""

import re
import warnings


def plain(text):
    """`text` without what differs from run to run."""
    text = re.sub(r"0x[0-9a-f]+", "0x..", str(text))
    text = re.sub(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", "<uuid>", text)
    text = re.sub(r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?", "<date>", text)
    return text.replace("\n", " ")


def show(label, question):
    """Print what `question()` gives: its value or exception, and the categories of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = repr(question())
        except BaseException as exc:
            answer = f"{type(exc).__name__}: {exc}"
    names = {warning.category.__name__ for warning in caught} - {"ResourceWarning"}
    said = "".join(f" | {name}" for name in sorted(names))
    print(f"{label} => {plain(answer)}{said}", flush=True)
