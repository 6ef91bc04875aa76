"""The parts of each training method: data, losses, rewards."""
