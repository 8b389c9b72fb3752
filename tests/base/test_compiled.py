"""Functions compiled by numba, also where the result cannot be kept."""

from __future__ import annotations

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from ednabed.base.compiled import compiled, readonly, writable  # noqa: E402


def doubled(values, out):
    for i in range(len(values)):
        out[i] = 2 * values[i]


@pytest.mark.parametrize("error", [None, RuntimeError("no locator available"), OSError(28, "No space left on device")])
def test_a_function_is_compiled_even_if_the_result_cannot_be_kept(monkeypatch, error):
    real = numba.njit

    def njit(*arguments, cache=False, **settings):
        if cache and error is not None:
            raise error
        return real(*arguments, **settings)

    monkeypatch.setattr(numba, "njit", njit)
    function = compiled(readonly(numba.int64), writable(numba.int64))(doubled)
    values, out = np.arange(5), np.zeros(5, np.int64)
    values.flags.writeable = False
    function(values, out)
    assert out.tolist() == [0, 2, 4, 6, 8]
    assert len(function.signatures) == 1


def test_errors_of_the_function_itself_are_not_hidden():
    with pytest.raises(numba.core.errors.NumbaError):
        compiled(readonly(numba.int64))(lambda values: values.nonsense)
