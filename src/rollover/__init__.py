"""Change the certificate authority of a live platform, proven safe before every step."""

__version__ = "0.1.0"
