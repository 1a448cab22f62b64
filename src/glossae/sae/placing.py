"""Where an SAE lies: on the device that computes, or on the CPU, from where rows are copied as they are needed."""

import math

import torch

from glossae.sae.sae import Sae

# of a device's memory, what an SAE may take of it beside the model and what a stage makes
SHARE = 0.5


def placed(sae: Sae, device: torch.device | str) -> Sae:
    """The SAE on a device, or on the CPU if it would take more than half of the device's memory."""
    weights = {id(tensor): tensor.nbytes for tensor in sae.parameters()}
    fits = sum(weights.values()) <= SHARE * device_bytes(torch.device(device))
    return sae.to(device) if fits else sae.cpu()


def device_bytes(device: torch.device) -> float:
    """Bytes of memory of a GPU; infinite where an SAE lies in the machine's own memory anyway."""
    return float(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else math.inf
