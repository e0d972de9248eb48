"""What can be called on signatures and results, and with what."""
# ruff: noqa: B023 - questions are put at once, where they stand

import inspect

from probe import show

import celery
import celery.canvas
import celery.result

SIGNATURE = """append_to_list_option apply apply_async clone delay election extend_list_option flatten_links freeze from_dict
    link link_error on_error partial register_type replace reprcall set set_immutable stamp stamp_links __call__ __init__"""
RESULT = """as_list as_tuple build_graph collect exists failed forget get get_leaf iterdeps maybe_reraise maybe_throw ready revoke
    revoke_by_stamped_headers successful then throw wait __init__"""
SET = """add clear completed_count discard failed forget get iter_native join join_native maybe_reraise maybe_throw ready remove revoke
    successful then update waiting __init__"""
CLASSES = {
    "Signature": SIGNATURE,
    "_chain": SIGNATURE + " prepare_steps run unchain_tasks",
    "group": SIGNATURE + " skew",
    "_chord": SIGNATURE + " run",
    "chunks": SIGNATURE + " apply_chunks group",
    "xmap": SIGNATURE,
    "xstarmap": SIGNATURE,
    "StampingVisitor": """on_callback on_chain_end on_chain_start on_chord_body on_chord_header_end on_chord_header_start on_errback
        on_group_end on_group_start on_signature""",
    "AsyncResult": RESULT,
    "EagerResult": RESULT,
    "ResultSet": SET,
    "GroupResult": SET + " as_tuple delete restore save",
}
PROPERTIES = {
    "Signature": "AsyncResult app args id immutable kwargs name options parent_id root_id subtask_type task type TYPES",
    "_chain": "app tasks",
    "group": "app tasks",
    "_chord": "app tasks body",
    "AsyncResult": """app args backend children date_done graph id ignored info kwargs name parent queue result retries state status
        supports_native_join task_id traceback worker""",
    "EagerResult": "result state status supports_native_join traceback",
    "ResultSet": "app backend parent supports_native_join",
    "GroupResult": "children id",
}


#: What Celery's calls do not have, and ours take by name only, so that no call of Celery's means anything else.
ADDED = {"on_progress"}


def parameters(cls, name):
    """Names and defaults that can be told; what a call may give, but for what was added."""
    found = inspect.signature(getattr(cls, name)).parameters.values()
    return ", ".join(_told(one) for one in found if not (one.name in ADDED and one.kind is one.KEYWORD_ONLY))


def _told(parameter):
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    if parameter.default is parameter.empty:
        return stars + parameter.name
    default = parameter.default
    plain = default is None or isinstance(default, (bool, int, float, str, tuple))
    return f"{parameter.name}={default!r}" if plain else f"{parameter.name}=..."


for kind, names in CLASSES.items():
    cls = getattr(celery.canvas, kind, None) or getattr(celery.result, kind)
    for name in names.split():
        show(f"{kind}.{name}", lambda: parameters(cls, name))
for kind, names in PROPERTIES.items():
    cls = getattr(celery.canvas, kind, None) or getattr(celery.result, kind)
    show(f"{kind} has", lambda: [name for name in names.split() if not hasattr(cls, name)])
for module, names in {
    "celery": "Signature chain chord chunks group signature subtask xmap xstarmap maybe_signature",
    "celery.canvas": "Signature StampingVisitor _chain _chord abstract_signature chain chord chunks group maybe_signature maybe_unroll_group signature subtask xmap xstarmap",
    "celery.result": "AsyncResult EagerResult GroupResult ResultBase ResultSet allow_join_result assert_will_not_block denied_join_result result_from_tuple task_join_will_block",
}.items():
    show(
        f"{module} has",
        lambda: [name for name in names.split() if not hasattr(__import__(module, fromlist=["x"]), name)],
    )
for name in ["signature", "maybe_signature", "result_from_tuple", "allow_join_result", "denied_join_result"]:
    found = getattr(celery.canvas, name, None) or getattr(celery.result, name)
    show(f"{name}()", lambda: parameters(type("", (), {name: staticmethod(found)}), name))
show(
    "names of the app",
    lambda: [
        name
        for name in ["AsyncResult", "GroupResult", "ResultSet", "canvas", "signature", "Signature"]
        if not hasattr(celery.Celery("x", set_as_current=False), name)
    ],
)
show(
    "tasks that are always there",
    lambda: sorted(
        name for name in celery.Celery("x", set_as_current=False).tasks if name.startswith("celery.")
    ),
)
