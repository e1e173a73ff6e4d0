"""Which machine it is: fingerprint, NVML, samples, memory."""
