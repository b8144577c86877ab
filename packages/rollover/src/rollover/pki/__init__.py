"""Keys, certificates, bundles and path validation: pure, no input, no output, no clock.

Randomness is drawn where a key or a serial number is made, and nowhere else.
"""
