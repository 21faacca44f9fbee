"""The engine process: a device, the host on it, and the orders that come through a pipe."""
