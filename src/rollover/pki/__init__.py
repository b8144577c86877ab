"""Keys, certificates, bundles and path validation: pure, no input, no output, no clock."""
