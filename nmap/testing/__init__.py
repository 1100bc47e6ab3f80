"""Conformance suites and toy networks for plug-in authors."""
