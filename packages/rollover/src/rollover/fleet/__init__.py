"""The nouns of Rollover: frozen types without behaviour of their own, no input, no output."""
