"""`nmap report`: the report a bundle was written with."""

from __future__ import annotations

import typer

from nmap.cli import options as opt
from nmap.cli.serve import Progress, Reply, Screen, serve
from nmap.diagnostics import CATALOGUE, Diagnostic, NmapError

__all__ = ["report"]


def report(
    context: typer.Context, bundle: opt.BundleArg, format: opt.FormatOption = opt.Format.text, quiet: opt.QuietOption = False,  # noqa: A002
    verbose: opt.VerboseOption = False,
) -> None:
    """Print the report of a bundle as text or JSON, after checking that the bundle is whole."""

    def work(_screen: Screen, _progress: Progress) -> Reply:
        from nmap.bundle import read_bundle
        from nmap.report.json import SCHEMA
        from nmap.report.text import target_name, to_text, verdict

        stored = read_bundle(bundle).report()
        if stored.get("schema") != SCHEMA:
            raise NmapError(Diagnostic(
                "NM602", "error", f"the report of `{bundle}` has schema `{stored.get('schema')}`, this nmap reads `{SCHEMA}`", str(bundle),
                help=("deploy the network again with this version",),
            ))
        stored["bundle"] = str(bundle)
        # A code that another version of nmap knew and this one does not has no place among this one's diagnostics.
        diagnostics = [
            Diagnostic(d["code"], d["severity"], d["message"], d["where"], d["why"], tuple(d["help"]))
            for d in stored["diagnostics"] if d["code"] in CATALOGUE
        ]
        # Printing worked, whatever the report says: the deployment's own status is in it.
        return Reply(to_text(stored), stored, diagnostics, 0, f"{bundle}  {target_name(stored)}  {verdict(stored)}")

    serve(context, work, format=format, quiet=quiet, verbose=verbose)
