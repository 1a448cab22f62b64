"""What a stage costs, and how long a machine takes for it."""

from dataclasses import dataclass

from glossae.plan.machine import LAUNCH, Machine

# bytes that Python and the libraries take before any model is there, on a CPU
BASE = 0.75e9


@dataclass(frozen=True)
class Work:
    """What a stage costs, whatever it runs on.

    Attributes:
        model_flops: of the language model's products.
        float_flops: of float32 products.
        moved: bytes read and written that no product accounts for.
        operations: how many are started.
        seconds: what takes as long everywhere.
        weights: of language models held at once.
        held: bytes held besides, on the device.
        written: bytes on disk.
        scratch: values in the model's precision that wait on disk while it runs.
        checkpoints: bytes of them on disk while it runs.
    """

    model_flops: float = 0
    float_flops: float = 0
    moved: float = 0
    operations: float = 0
    seconds: float = 0
    weights: float = 0
    held: float = 0
    written: float = 0
    scratch: float = 0
    checkpoints: float = 0

    def __add__(self, other: "Work") -> "Work":
        """One after the other: costs add up, and of what is held the larger counts."""
        return Work(
            self.model_flops + other.model_flops,
            self.float_flops + other.float_flops,
            self.moved + other.moved,
            self.operations + other.operations,
            self.seconds + other.seconds,
            max(self.weights, other.weights),
            max(self.held, other.held),
            self.written + other.written,
            max(self.scratch, other.scratch),
            max(self.checkpoints, other.checkpoints),
        )

    def time(self, machine: Machine) -> float:
        """Seconds on a machine."""
        return (
            self.model_flops / machine.model_rate
            + self.float_flops / machine.float_rate
            + self.moved / machine.bandwidth
            + self.operations * LAUNCH
            + self.seconds
        )

    def memory(self, machine: Machine) -> float:
        """Bytes on a machine's device."""
        return self.weights * machine.model_bytes + self.held + (0 if machine.gpu else BASE)
