import copy
import inspect
import pickle
import threading

import pytest

from celery.utils import functional as f


def sample(a, b, *args, c=1, d, **kw):
    pass


def plain(x, y=5):
    pass


def positional(x, /, y):
    pass


class Callable:
    def __call__(self, a, b=1):
        pass

    def method(self, a):
        pass


CASES = [
    (plain, (1,), {}),
    (plain, (), {}),
    (plain, (1, 2, 3), {}),
    (plain, (1,), {"y": 2}),
    (plain, (1,), {"z": 2}),
    (plain, (1,), {"x": 2}),
    (sample, (1, 2), {"d": 1}),
    (sample, (1, 2, 3, 4), {"d": 1, "e": 5}),
    (sample, (1, 2), {}),
    (sample, (), {"a": 1, "b": 2, "d": 3}),
    (positional, (1, 2), {}),
    (positional, (), {"x": 1, "y": 2}),
    (lambda q: 1, (1,), {}),
    (lambda q: 1, (), {}),
]


def failure(function, args, kwargs):
    try:
        function(*args, **kwargs)
    except TypeError as exc:
        return str(exc)
    return None


@pytest.mark.parametrize(("function", "args", "kwargs"), CASES)
def test_a_head_takes_what_the_function_takes(function, args, kwargs):
    assert failure(f.head_from_fun(function), args, kwargs) == failure(function, args, kwargs)


def test_heads_of_bound_things():
    assert failure(f.head_from_fun(Callable()), (1, 2), {}) is None
    assert failure(f.head_from_fun(Callable()), (1, 2, 3), {})
    assert failure(f.head_from_fun(Callable().method), (1,), {}) is None
    assert failure(f.head_from_fun(Callable.method, bound=True), (1,), {}) is None
    assert failure(f.head_from_fun(Callable.method, bound=True), (), {})
    f.head_from_fun(int)("anything", goes=True)


def test_a_head_has_a_name():
    head = f.head_from_fun(plain)
    assert head.__name__ == "plain"
    assert str(inspect.signature(head)) == "(x, y=5)"


def test_questions_about_arguments():
    assert f.fun_accepts_kwargs(sample)
    assert not f.fun_accepts_kwargs(plain)
    assert f.fun_accepts_kwargs(lambda **kw: 1)
    assert not f.fun_accepts_kwargs(Callable())
    assert not f.fun_accepts_kwargs(len)
    assert f.fun_takes_argument("x", plain)
    assert not f.fun_takes_argument("z", plain)
    assert f.fun_takes_argument("z", plain, position=2)
    assert not f.fun_takes_argument("z", plain, position=3)
    assert f.fun_takes_argument("anything", sample)
    assert f.arity_greater(plain, 1)
    assert not f.arity_greater(plain, 2)


def test_sequences():
    assert f.maybe_list(None) is None
    assert f.maybe_list("x") == ["x"]
    assert f.maybe_list((1,)) == (1,)
    assert f.is_list([])
    assert not f.is_list({})
    assert f.first(lambda x: x > 1, [1, 2, 3]) == 2
    assert f.first(None, [None, 0]) == 0
    assert f.first(lambda x: x > 5, [1]) is None
    assert list(f.chunks(iter(range(7)), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert f.padlist([1], 3) == [1, None, None]
    assert f.padlist([1, 2, 3], 2) == [1, 2]
    assert list(f.uniq([1, 2, 1])) == [1, 2]
    assert list(f.lookahead([1, 2])) == [(1, 2), (2, None)]
    assert f.seq_concat_item((1,), 2) == (1, 2)
    assert f.seq_concat_item([1], 2) == [1, 2]
    assert f.seq_concat_seq([1], (2,)) == [1, 2]
    assert f.seq_concat_seq((1,), [2, 3]) == [1, 2, 3]
    assert f.mattrgetter("real", "nope")(3) == {"real": 3, "nope": None}
    assert f.dictfilter({"a": None, "b": 1}, c=None, e=2) == {"b": 1, "e": 2}
    assert f.maybe(int, "3") == 3
    assert f.maybe(int, None) is None
    assert f.is_numeric_value(1.5)
    assert not f.is_numeric_value(True)
    assert f.pass1(1, 2) == 1
    assert f.noop(1, a=2) is None
    with f.DummyContext():
        pass


def test_firstmethod():
    class Answers:
        def __init__(self, answer):
            self.answer = answer

        def ask(self, *args):
            return self.answer

    ask = f.firstmethod("ask")
    assert ask([object(), Answers(None), f.mlazy(lambda: Answers(3)), Answers(4)]) == 3
    assert ask([]) is None
    assert f.firstmethod("ask", lambda method, x: x)([Answers(None)], 7) == 7


def test_regen_reads_once_and_only_what_it_must():
    read = []

    def numbers():
        for n in range(4):
            read.append(n)
            yield n

    lazy = f.regen(numbers())
    assert isinstance(lazy, list)
    assert lazy[1] == 1
    assert read == [0, 1]
    assert bool(lazy)
    assert list(lazy) == list(lazy) == [0, 1, 2, 3]
    assert read == [0, 1, 2, 3]
    assert len(lazy) == 4
    assert pickle.loads(pickle.dumps(lazy)) == [0, 1, 2, 3]
    assert not f.regen(iter(()))
    with pytest.raises(IndexError):
        f.regen(iter([1]))[5]
    same = [1]
    assert f.regen(same) is same
    mapped = f.regen(iter([1, 2]))
    mapped.map(lambda x: x * 10)
    assert mapped[-1] == 20


def test_memoize():
    calls = []

    @f.memoize(maxsize=2)
    def square(x):
        calls.append(x)
        return x * x

    assert [square(2), square(2), square(3), square(4), square(2)] == [4, 4, 9, 16, 4]
    assert calls == [2, 3, 4, 2]
    assert (square.hits, square.misses) == (1, 4)
    square.clear()
    assert (square.hits, square.misses) == (0, 0)
    assert square.original_func(5) == 25


def test_lazies():
    calls = []
    lazy = f.lazy(lambda a, b: calls.append(1) or a + b, 1, b=2)
    assert (lazy(), lazy.evaluate(), str(lazy), lazy == 3, lazy != 3) == (3, 3, "3", True, False)
    assert len(calls) == 5
    assert copy.deepcopy(lazy) is lazy
    once = f.mlazy(lambda: calls.append(2) or 5)
    assert not once.evaluated
    assert (once(), once()) == (5, 5)
    assert calls.count(2) == 1
    assert f.maybe_evaluate(once) == 5
    assert f.maybe_evaluate(3) == 3
    kombu = pytest.importorskip("kombu.utils.functional")
    assert f.maybe_evaluate(kombu.lazy(lambda: 7)) == 7


def test_lru_cache():
    cache = f.LRUCache(limit=2)
    cache["a"], cache["b"] = 1, 2
    assert cache["a"] == 1
    cache["c"] = 3
    assert list(cache) == ["a", "c"]
    assert cache.keys() == ["a", "c"]
    assert cache.items() == [("a", 1), ("c", 3)]
    assert cache.values() == [1, 3]
    assert cache.popitem(last=False) == ("a", 1)
    cache["n"] = 1
    assert cache.incr("n", 2) == 3
    assert cache["n"] == "3"
    cache.update({"x": 1, "y": 2, "z": 3})
    assert len(cache) == 2
    assert pickle.loads(pickle.dumps(cache)).items() == cache.items()


def test_lru_cache_in_threads():
    cache = f.LRUCache(limit=50)
    errors = []

    def churn(base):
        try:
            for n in range(2000):
                cache[base + n] = n
                list(cache)
                cache.get(base + n)
        except Exception as exc:
            errors.append(exc)

    threads = [threading.Thread(target=churn, args=(base,)) for base in (0, 10**6, 2 * 10**6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(cache) == 50
