"""Tests of what makes a start quick: it is in force during the start, and gone after it."""

import gc
import ssl

import pytest

from junctor.bootstrap import quick


def test_nothing_is_collected_during_a_start_and_all_after_it() -> None:
    """If this fails, a start takes longer, or a server that has started never collects its garbage and grows."""
    assert gc.isenabled()
    frozen, threshold = gc.get_freeze_count(), gc.get_threshold()
    try:
        with quick.start():
            assert not gc.isenabled()
            quick.started()
            assert gc.isenabled()
            assert gc.get_freeze_count() > frozen
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)


def _break() -> None:
    raise LookupError


def test_a_start_that_fails_leaves_the_collector_as_it_was() -> None:
    """If this fails, whatever goes on in the process after a failed start grows without bound."""
    with pytest.raises(LookupError), quick.start():
        _break()
    assert gc.isenabled()


def test_authorities_are_read_outside_of_the_block_only() -> None:
    """If this fails, a start reads them in vain; or a connection made later trusts nobody, or anybody."""
    with quick.without_authorities():
        context = ssl.create_default_context()
        assert context.cert_store_stats()["x509"] == 0
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert "set_default_verify_paths" not in vars(ssl.SSLContext)
    with pytest.raises(LookupError), quick.without_authorities():
        _break()
    assert "set_default_verify_paths" not in vars(ssl.SSLContext)
