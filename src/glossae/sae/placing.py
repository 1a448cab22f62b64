"""Where an SAE lies: on the device that computes, or on the CPU, from where rows are copied as they are needed."""

import math

import torch

from glossae.sae.sae import Sae, SaeConfig

# of a device's memory, what an SAE may take of it beside the model and what a stage makes
SHARE = 0.5


def placed(sae: Sae, device: torch.device | str) -> Sae:
    """The SAE on a device, or on the CPU if its matrices would take more than half of the device's memory."""
    return sae.to(place_of(sae.config, device))


def place_of(config: SaeConfig, device: torch.device | str) -> torch.device:
    """Where an SAE of this size lies whose inputs are on a device."""
    size = 4 * config.d_in * config.latents * (1 if config.tied else 2)
    device = torch.device(device)
    return device if size <= SHARE * device_bytes(device) else torch.device("cpu")


def device_bytes(device: torch.device) -> float:
    """Bytes of memory of a GPU; infinite where an SAE lies in the machine's own memory anyway."""
    return float(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else math.inf
