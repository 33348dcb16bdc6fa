"""Keys keep their kind, their text and their secrets."""

import copy
import pickle

import pytest

from ginnel.wire.tailcfg import EarlyNoise, decode, encode
from ginnel.words import BadKey, ChallengeKey, DiscoKey, MachineKey, MachinePrivate, NodeKey, NodePrivate

RAW = bytes(range(32))
KINDS = [MachineKey, NodeKey, DiscoKey, ChallengeKey]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_its_text(kind):
    key = kind(RAW)
    assert kind.parse(str(key)) == kind.parse(kind.prefix + RAW.hex().upper()) == key
    assert str(key) == kind.prefix + RAW.hex()
    assert hash(kind(RAW)) == hash(key)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["", "00", "nope:" + "00" * 32, "{}" + "0" * 63, "{}" + "0g" * 32, "{}" + " 0" * 32])
def test_other_text_is_no_key(kind, text):
    with pytest.raises(BadKey):
        kind.parse(text.format(kind.prefix))


def test_kinds_are_never_equal():
    assert len({kind(RAW) for kind in KINDS}) == len(KINDS)


def test_a_key_does_not_change():
    key = NodeKey(RAW)
    with pytest.raises(AttributeError):
        key.raw = bytes(32)
    with pytest.raises(AttributeError):
        del key.raw
    assert copy.deepcopy(key) == pickle.loads(pickle.dumps(key)) == key


def test_all_zeros_is_absent():
    assert not NodeKey.zero()
    assert NodeKey(RAW)


def test_keys_sort_by_their_bytes():
    assert sorted([NodeKey(bytes([n]) * 32) for n in (3, 1, 2)])[0] == NodeKey(bytes([1]) * 32)
    with pytest.raises(TypeError):
        assert NodeKey(RAW) < DiscoKey(RAW)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(size):
    for kind in (*KINDS, NodePrivate):
        with pytest.raises(BadKey):
            kind(bytes(size))


def test_private_keys_never_print():
    key = MachinePrivate(RAW)
    assert key.raw.hex() not in repr(key) + str(key)
    assert MachinePrivate.parse(key.secret_text()) == key


def test_keys_are_text_in_json():
    message = EarlyNoise(ChallengeKey(RAW))
    assert encode(message) == b'{"nodeKeyChallenge":"chalpub:' + RAW.hex().encode() + b'"}'
    assert decode(EarlyNoise, encode(message)) == message
