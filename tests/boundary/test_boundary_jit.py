"""The compiler of the pixel loops."""

from numba.core.caching import FunctionCache

from harness.jit import kernel


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch):
    monkeypatch.setattr(FunctionCache._impl_class, "_locator_classes", [])
    assert kernel(lambda x: x + 1)(41) == 42
