"""Helpers that other packages use: dates, texts, functions, imports, node names, collections, serialization."""

import datetime
import pickle

from probe import show

from celery import local
from celery.app import registry
from celery.app.routes import MapRoute, prepare
from celery.exceptions import MaxRetriesExceededError, Reject, Retry
from celery.utils import collections as coll
from celery.utils import functional as fun
from celery.utils import imports, nodenames, objects, saferepr, serialization, text
from celery.utils import time as times
from celery.utils.iso8601 import parse_iso8601

UTC = datetime.UTC
DAY = datetime.datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)

# -- dates
show("humanize_seconds", lambda: [times.humanize_seconds(n) for n in (0, 1, 59, 60, 61, 3600, 90000, 4, 0.5)])
show("humanize prefix", lambda: times.humanize_seconds(10, prefix="in ", sep=" ", now="NOW"))
show("rate", lambda: [times.rate(r) for r in ("10/s", "60/m", "3600/h", 5, None, 0, "7")])
show("rate bad", lambda: times.rate("10/x"))
show("maybe_timedelta", lambda: (times.maybe_timedelta(30), times.maybe_timedelta(None)))
show(
    "maybe_iso8601",
    lambda: (
        times.maybe_iso8601("2031-01-02T03:04:05"),
        times.maybe_iso8601(None),
        times.maybe_iso8601(DAY) is DAY,
    ),
)
show(
    "parse_iso8601",
    lambda: [
        parse_iso8601(s).isoformat()
        for s in ("2031-01-02", "2031-01-02T03:04:05Z", "2031-01-02T03:04:05.5+02:00", "2031-01-02 03:04")
    ],
)
show("parse_iso8601 bad", lambda: parse_iso8601("zz"))
show(
    "delta_resolution",
    lambda: [
        times.delta_resolution(DAY, datetime.timedelta(**k))
        for k in ({"days": 2}, {"hours": 2}, {"minutes": 2}, {"seconds": 2})
    ],
)
show("remaining", lambda: times.remaining(DAY, datetime.timedelta(seconds=30), now=DAY))
show(
    "ffwd",
    lambda: (
        DAY + times.ffwd(hour=3, minute=0),
        repr(times.ffwd(hour=3)),
        DAY + times.ffwd(weeks=1, weekday=2),
    ),
)
show("make_aware", lambda: times.make_aware(datetime.datetime(2031, 1, 1), UTC))
show(
    "maybe_make_aware",
    lambda: (times.maybe_make_aware(DAY) == DAY, times.maybe_make_aware(datetime.datetime(2031, 1, 1))),
)
show("localize", lambda: times.localize(DAY, times.timezone.get_timezone("Europe/Oslo")).isoformat())
show("to_utc", lambda: times.to_utc(datetime.datetime(2031, 1, 1)).isoformat())
show(
    "timezone",
    lambda: (
        str(times.timezone.get_timezone("UTC")),
        times.timezone.to_local(DAY, UTC).isoformat(),
        str(times.timezone.utc),
    ),
)
show("tz_or_local", lambda: str(times.timezone.tz_or_local("Asia/Tokyo")))
show("bad zone", lambda: times.timezone.get_timezone("No/Where"))
show("backoff", lambda: [times.get_exponential_backoff_interval(3, n, 100) for n in range(7)])
show("weekday", lambda: (times.weekday("sun"), times.weekday("Monday")))
show("adjust_timestamp", lambda: times.adjust_timestamp(100.0, 2, lambda: 0))

# -- texts
show(
    "abbr",
    lambda: (
        text.abbr("hello world", 8),
        text.abbr("hello", 8),
        text.abbr(None, 3),
        text.abbr("hello world", 8, None),
    ),
)
show(
    "abbrtask",
    lambda: (
        text.abbrtask("feeds.tasks.refresh_everything", 15),
        text.abbrtask("a.b", 15),
        text.abbrtask(None, 15),
    ),
)
show(
    "truncate",
    lambda: (text.truncate("hello world", 8), text.truncate("hi", 8), text.truncate_bytes(b"hello world", 8)),
)
show("indent", lambda: text.indent("a\nb", 2, sep="|"))
show("pluralize", lambda: (text.pluralize(1, "task"), text.pluralize(2, "task"), text.pluralize(0, "task")))
show("dedent", lambda: (text.dedent_initial("    abc"), text.dedent("  a\n  b")))
show("fill", lambda: text.fill_paragraphs("aaa bbb ccc\n\nddd", 5))
show("join", lambda: (text.join(["a", "b"]), text.ensure_sep("/", "a"), text.ensure_newlines("a", 2)))
show(
    "simple_format",
    lambda: (text.simple_format("%n-%h%%", {"n": "N", "h": lambda: "H"}), text.simple_format("plain", {})),
)
show("simple_format bad", lambda: text.simple_format("%q", {"n": 1}))
show("remove_repeating", lambda: text.remove_repeating_from_task("t.add", "t.add(1), t.add(2)"))
show("pretty", lambda: text.pretty({"a": 1}))
show("str_to_list", lambda: (text.str_to_list("a, b,c"), text.str_to_list(["x"])))

# -- representation
show(
    "saferepr",
    lambda: [
        saferepr.saferepr(o)
        for o in (
            (1, "a"),
            {"k": [1, {2}]},
            "x",
            b"y",
            {1: {2: {3: {4: 5}}}},
            [],
            {},
            set(),
            (1,),
            frozenset({1}),
        )
    ],
)
show(
    "saferepr long",
    lambda: (
        saferepr.saferepr("x" * 50, maxlen=20),
        saferepr.saferepr(list(range(99)), maxlen=30),
        saferepr.saferepr({"a": "b" * 50}, maxlen=20),
    ),
)
show("saferepr levels", lambda: saferepr.saferepr([[[[[1]]]]], maxlevels=2))
loop = []
loop.append(loop)
show("saferepr loop", lambda: saferepr.saferepr(loop).startswith("[<Recursion on list"))
show(
    "reprcall",
    lambda: (
        saferepr.saferepr("it's"),
        saferepr.saferepr('a"b'),
        saferepr.saferepr("é"),
        saferepr.saferepr("\n"),
    ),
)

# -- functions
show("first", lambda: (fun.first(lambda x: x > 2, [1, 2, 3, 4]), fun.first(None, [None, 0])))
show("firstmethod", lambda: fun.firstmethod("upper", on_call=lambda method: method())(["abc"]))
show("chunks", lambda: list(fun.chunks(iter(range(5)), 2)))
show("padlist", lambda: (fun.padlist([1], 3), fun.padlist([1, 2, 3], 2, default=0)))
show("mattrgetter", lambda: fun.mattrgetter("real", "imag", "nope")(3 + 4j))
show("uniq", lambda: list(fun.uniq([1, 2, 1, 3])))
show("lookahead", lambda: list(fun.lookahead(range(3))))
show("regen", lambda: (lambda r: (list(r), list(r), r[1], bool(r)))(fun.regen(iter([1, 2, 3]))))
show(
    "maybe_list",
    lambda: (fun.maybe_list("a"), fun.maybe_list([1]), fun.maybe_list(None), fun.maybe_list((1,))),
)
show("is_list", lambda: (fun.is_list([]), fun.is_list("a"), fun.is_list({}), fun.is_list(())))
show("dictfilter", lambda: fun.dictfilter({"a": None, "b": 1}, c=None, d=2))
show(
    "fun_takes_argument",
    lambda: (
        fun.fun_takes_argument("x", lambda x: 1),
        fun.fun_takes_argument("x", lambda y: 1),
        fun.fun_takes_argument("x", lambda a, b: 1, position=2),
        fun.fun_takes_argument("x", lambda **k: 1),
    ),
)
show(
    "fun_accepts_kwargs", lambda: (fun.fun_accepts_kwargs(lambda **k: 1), fun.fun_accepts_kwargs(lambda a: 1))
)
show(
    "arity_greater",
    lambda: (
        fun.arity_greater(lambda a: 1, 1),
        fun.arity_greater(lambda a, b: 1, 1),
        fun.arity_greater(lambda *a: 1, 1),
    ),
)
show("is_numeric_value", lambda: [fun.is_numeric_value(v) for v in (1, 1.5, True, "1", None)])
show(
    "seq_concat",
    lambda: (
        fun.seq_concat_item((1,), 2),
        fun.seq_concat_item([1], 2),
        fun.seq_concat_seq((1,), [2]),
        fun.seq_concat_seq([1], (2,)),
    ),
)


def header(a, b=2, *args, c, **kwargs):
    return a


show("head_from_fun", lambda: fun.head_from_fun(header)(1, c=3) is not None)
show("head_from_fun bad", lambda: fun.head_from_fun(header)(1))
show("mlazy", lambda: (lambda m: (m(), m(), m.evaluated))(fun.mlazy(lambda: 5)))
show("noop", lambda: (fun.noop(1, a=2), fun.pass1(5)))

# -- imports
show(
    "symbol_by_name",
    lambda: (
        imports.symbol_by_name("os.path:join").__name__,
        imports.symbol_by_name("os.path.join").__name__,
        imports.symbol_by_name("alias", {"alias": "os.path:split"}).__name__,
    ),
)
show("symbol default", lambda: imports.symbol_by_name("no.such:x", default=7))
show("symbol missing", lambda: imports.symbol_by_name("no.such:x"))
show("symbol missing attr", lambda: imports.symbol_by_name("os:nothere"))
show("instantiate", lambda: imports.instantiate("datetime:date", 2031, 1, 2))
show("qualname", lambda: (imports.qualname(datetime.datetime), imports.qualname(datetime.datetime.now())))
show("find_module", lambda: imports.find_module("json").__name__)
show("find_module file", lambda: imports.find_module("json.py"))
show("module_file", lambda: imports.module_file(imports).endswith("imports.py"))
show(
    "gen_task_name",
    lambda: imports.gen_task_name(__import__("celery").Celery("m", set_as_current=False), "f", "__main__"),
)

# -- node names
show(
    "nodename",
    lambda: (
        nodenames.nodename("w", "h"),
        nodenames.nodesplit("w@h.d"),
        nodenames.nodesplit("w"),
        nodenames.default_nodename("foo"),
        nodenames.default_nodename("a@b"),
    ),
)
show("node_format", lambda: nodenames.node_format("%n|%h|%d|%p|%i|%I|%%", "w1@a.b.c"))
show("host_format", lambda: nodenames.host_format("%n|%h|%d|%%", host="a.b.c"))
show(
    "worker_direct",
    lambda: (lambda q: (q.name, q.exchange.name, q.routing_key))(nodenames.worker_direct("w1@h")),
)

# -- collections
show("AttributeDict", lambda: (lambda d: (d.a, d.b, setattr(d, "c", 3), d))(coll.AttributeDict(a=1, b=2)))
show("AttributeDict missing", lambda: coll.AttributeDict().nope)
show(
    "DictAttribute",
    lambda: (lambda d: (d["x"], d.get("y", 5), "x" in d, d.setdefault("z", 1)))(
        coll.DictAttribute(type("O", (), {"x": 1})())
    ),
)
show(
    "ChainMap",
    lambda: (lambda m: (m["a"], m["b"], len(m), sorted(m), m.get("zz")))(
        coll.ChainMap({"a": 1}, {"a": 2, "b": 3})
    ),
)
show("ChainMap missing", lambda: coll.ChainMap({})["nope"])
show(
    "ConfigurationView",
    lambda: (lambda v: (v.a, v["b"], v.first("zz", "a"), v.setdefault("c", 9), v.c, sorted(v)))(
        coll.ConfigurationView({"a": 1}, [{"b": 2}])
    ),
)
show("ConfigurationView missing", lambda: coll.ConfigurationView({}, [{}]).nope)


def limited():
    s = coll.LimitedSet(maxlen=3)
    for n in range(5):
        s.add(n)
    s.discard(4)
    return list(s), len(s), 3 in s, 0 in s, pickle.loads(pickle.dumps(s)) == s


show("LimitedSet", limited)
show(
    "LimitedSet old",
    lambda: (lambda s: (s.add("a", now=1), s.add("b", now=100), s.purge(now=102), list(s)))(
        coll.LimitedSet(maxlen=9, expires=10, minlen=0)
    ),
)
show("LimitedSet bad", lambda: coll.LimitedSet(maxlen=-1))
show(
    "Messagebuffer",
    lambda: (lambda b: ([b.put(n) for n in range(4)], b.take(), len(b)))(coll.Messagebuffer(3)),
)
show(
    "BufferMap",
    lambda: (lambda b: (b.put("k", 1), b.extend("k", [2]), b.take("k"), b.total))(coll.BufferMap(10)),
)
show("OrderedDict", lambda: (lambda d: (d.move_to_end("a"), list(d)))(coll.OrderedDict(a=1, b=2)))
show("force_mapping", lambda: sorted(coll.force_mapping({"a": 1})))
show("Bunch", lambda: objects.Bunch(a=1).a)
show("FallbackContext", lambda: objects.FallbackContext(5, None).__enter__())
show("mro_lookup", lambda: objects.mro_lookup(bool, "bit_length").__name__)

# -- proxies
show(
    "Proxy",
    lambda: (
        lambda p: (
            p + 1,
            p == 5,
            repr(p),
            bool(p),
            hash(p) == hash(5),
            isinstance(p, local.Proxy),
            local.maybe_evaluate(p),
        )
    )(local.Proxy(lambda: 5)),
)
show(
    "PromiseProxy",
    lambda: (lambda p: (p.__evaluated__(), p[0], p.__evaluated__()))(local.PromiseProxy(lambda: [1])),
)
show("Proxy none", lambda: (lambda p: (bool(p), p == None))(local.Proxy(lambda: None)))  # noqa: E711
show(
    "try_import",
    lambda: (
        local.try_import("json").__name__,
        local.try_import("no_such_module"),
        local.try_import("no_such", default=3),
    ),
)

# -- serialization
show("strtobool", lambda: [serialization.strtobool(v) for v in ("yes", "off", "TRUE", 3, True)])
show("strtobool bad", lambda: serialization.strtobool("zz"))
show("b64", lambda: (serialization.b64encode(b"ab"), serialization.b64decode(b"YWI=")))
show(
    "jsonify",
    lambda: serialization.jsonify({"a": (1, {2}), "d": DAY, "t": datetime.timedelta(seconds=1), "n": None}),
)
show("jsonify bad", lambda: serialization.jsonify(object()))
show("jsonify unknown", lambda: serialization.jsonify([object], unknown_type_filter=lambda o: "?"))


class Bad(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = lambda: b


show(
    "pickleable",
    lambda: (
        serialization.get_pickleable_exception(KeyError("k")),
        type(serialization.get_pickleable_exception(Bad(1, 2))).__name__,
    ),
)
show(
    "wrapper",
    lambda: (lambda w: (w.exc_cls_name, w.exc_args, str(w), repr(w.restore())))(
        serialization.UnpickleableExceptionWrapper.from_exception(Bad(1, 2))
    ),
)
show("ensure_serializable", lambda: serialization.ensure_serializable([1, object], repr))
show(
    "create_exception_cls",
    lambda: (lambda c: (c.__name__, c.__module__, c.__mro__[1].__name__))(
        serialization.create_exception_cls("E", "m.n")
    ),
)
show("find_pickleable", lambda: serialization.find_pickleable_exception(Bad(1, 2)))
show(
    "pickled",
    lambda: [
        repr(pickle.loads(pickle.dumps(e)))
        for e in (
            Retry("m", KeyError("k"), 5),
            Reject("r", True),
            MaxRetriesExceededError("x", task_args=(1,)),
        )
    ],
)

# -- routes, registry
show(
    "MapRoute", lambda: (lambda r: (r("a"), r("b.c"), r("zz")))(MapRoute({"a": "qa", "b.*": {"queue": "qb"}}))
)
show("prepare", lambda: (len(prepare(({"a": "b"}, lambda *a, **k: None))), prepare(None)))
show("registry", lambda: (lambda r: (r.get("x"), sorted(r)))(registry.TaskRegistry()))
