"""From files to batches of raw crops: reading, pairing, normalisation, sampling of crops."""
