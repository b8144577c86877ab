"""Numbered traffic over a real fleet: mutual-TLS clients that count what is lost, late or doubled.

A process of its own (`python -m rollover_lab.traffic --spec FILE`), told what to do by
`spec.TrafficSpec`, which says what it saw in `report.TrafficReport`.
"""
