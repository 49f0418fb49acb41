"""Which slot holds what. Pure bookkeeping: the tensors are the runtime's.

A slot is one session state's place on the device. Slot 0 holds the initial state for good, shared
by every session that has not stepped yet and by every prediction. Slots are counted by their
holders, so a fork shares its parent's slot until either steps (copy on write).
"""

from __future__ import annotations

INITIAL = 0
LEAST_SLOTS = 3  # the initial state's, one committed, one working


class Arena:
    """`slots` places, of which slot 0 is taken. Needs 3: one committed, one working.

    Raises ValueError below that.
    """

    def __init__(self, slots: int) -> None:
        if slots < LEAST_SLOTS:
            raise ValueError(f"an arena needs at least {LEAST_SLOTS} slots, got {slots}")
        self.slots = slots
        self._holders = [0] * slots
        self._holders[INITIAL] = 1
        self._free = list(range(slots - 1, 0, -1))

    @property
    def free(self) -> int:
        """Slots nobody holds."""
        return len(self._free)

    def holders(self, slot: int) -> int:
        """How many hold a slot."""
        return self._holders[slot]

    def take(self) -> int:
        """A free slot, held once. Raises IndexError when there is none."""
        slot = self._free.pop()
        self._holders[slot] = 1
        return slot

    def share(self, slot: int) -> int:
        """Hold a slot once more."""
        self._holders[slot] += 1
        return slot

    def release(self, slot: int) -> bool:
        """Let go of a slot. True when it is free again and its content is nobody's."""
        if self._holders[slot] < 1:
            raise RuntimeError(f"slot {slot} was released more often than held")
        self._holders[slot] -= 1
        if self._holders[slot] == 0:
            self._free.append(slot)
            return True
        return False
