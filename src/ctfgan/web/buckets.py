"""How often one address may ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

MAX_ADDRESSES = 10_000


class Buckets:
    """A bucket of tokens for each address: it fills at a constant rate and never overflows.

    Of more than 10,000 addresses those that were quiet longest are forgotten.

    Args:
        per_minute: tokens that flow in, and the most that a bucket holds.
        clock: seconds that never go back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = float(per_minute)
        self._rate = per_minute / 60
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> tokens, when

    def take(self, address: str, tokens: float = 1.0) -> float:
        """Take some tokens.

        Returns:
            0.0; or, if there are too few, the seconds after which there will be enough.
        """
        key, now = _household(address), self._clock()
        level, since = self._levels.pop(key, (self._size, now))
        level = min(self._size, level + (now - since) * self._rate)
        wait = max(0.0, (tokens - level) / self._rate)
        self._levels[key] = (level if wait else level - tokens, now)
        if len(self._levels) > MAX_ADDRESSES:
            self._levels.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._levels)


def _household(address: str) -> str:
    """One IPv6 household has 2^64 addresses: their first half stands for all."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    return str(int(known) >> 64) if isinstance(known, IPv6Address) else address
