"""Brings files to instances and takes them back: on this machine, or by an operator's command."""
