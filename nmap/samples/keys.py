"""Which arrays of an `.npz` file give an input's samples, which contradict each other, and what the others may have been meant for."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from nmap.diagnostics import Findings
from nmap.network import Network
from nmap.samples.archive import MAX_NAME, Archive, listed
from nmap.samples.events import place_keys, time_keys

__all__ = ["did_you_mean", "foreign_labels", "near", "suffixes_of", "tell_unread"]

_MOST_COMPARED = 32
"""Names that are compared with the known ones: each comparison costs time, and a file may hold any number of names."""
_CUTOFF = 0.8
_COMPANIONS = ("spikes", "counts")
"""What scripts and `nmap run -o` store beside samples, under these names or with `.NAME`; so is every `reference...`."""


def near(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Return the known name that each of `names` is nearly spelt as (difflib's ratio is 0.8 or more), where there is one."""
    folded = {name.casefold(): name for name in known[:_MOST_COMPARED]}
    found = {}
    for name in names[:_MOST_COMPARED]:
        close = get_close_matches(name.casefold(), folded, 1, _CUTOFF) if len(name) <= MAX_NAME else []
        if close and folded[close[0]] != name:
            found[name] = folded[close[0]]
    return found


def did_you_mean(meant: dict[str, str], most: int) -> tuple[str, ...]:
    """Return a remedy for each of the first `most` names that `near` found."""
    return tuple(f"did you mean `{known}`? Then name {listed([name])} so" for name, known in list(meant.items())[:most])


def suffixes_of(archive: Archive, network: Network, findings: Findings) -> dict[str, str]:
    """Return what follows the names of each input's arrays, for the inputs that have some.

    Samples that are there twice, in two forms or for an input that does not exist are recorded as NM802.
    """
    alone = len(network.inputs) == 1
    chosen: dict[str, str] = {}
    for port in network.inputs:
        options = (f".{port}", "") if alone else (f".{port}",)
        given = {key: suffix for suffix in options for key in _forms(archive, suffix)}
        if not given:
            # A list of times without places is told as such when it is read.
            given = {key: suffix for suffix in options for key in time_keys(archive, suffix)}
        if len(given) > 1:
            _contradict(archive, list(given), f"give the samples of `{port}`", findings)
        if given:
            chosen[port] = next(iter(given.values()))
    if not alone and chosen and _forms(archive, ""):
        some = next(iter(chosen.values()))
        _contradict(
            archive, [*_forms(archive, "")[:1], *(_forms(archive, some) or time_keys(archive, some))[:1]],
            f"give samples of a network with {len(network.inputs)} inputs", findings,
        )
    _foreign_inputs(archive, network, [port for port in network.inputs if port not in chosen], findings)
    return chosen


def _forms(archive: Archive, suffix: str) -> list[str]:
    """Return the arrays under which an input's samples are stored: dense ones, or the times of events that have a place."""
    dense = [f"inputs{suffix}"] if f"inputs{suffix}" in archive else []
    return [*dense, *(time_keys(archive, suffix) if place_keys(archive, suffix) else ())]


def _contradict(archive: Archive, keys: list[str], what: str, findings: Findings) -> None:
    both = "both" if len(keys) == 2 else "all"
    findings.error(
        "NM802", f"{listed(keys)} {both} {what}; which of them counts is not known", where=str(archive.path),
        help=("leave all but one of them out",),
    )


def _foreign_inputs(archive: Archive, network: Network, missing: list[str], findings: Findings) -> None:
    """Record NM802 for samples that are named after an input which the network lacks."""
    foreign = []
    for key in archive.keys:
        base, dot, port = key.partition(".")
        if dot and port not in network.inputs and key in _forms(archive, f".{port}"):
            foreign.append((base, port))
    if not foreign:
        return
    keys = [f"{base}.{port}" for base, port in foreign]
    base, port = foreign[0]
    meant = near([port], missing).get(port) or (missing[0] if len(missing) == 1 else None)
    findings.error(
        "NM802", f"{listed(keys)} {_names(keys)} no input of the network; {_those('input', network.inputs)}", where=str(archive.path),
        why=f"there are no samples for {listed(missing)}" if missing else None,
        help=(f"name it {listed([f'{base}.{meant}'])}",) if meant else ("leave it out of the file",) if not missing else (),
    )


def foreign_labels(archive: Archive, network: Network, findings: Findings) -> None:
    """Record NM802 for labels that are named after an output which the network lacks."""
    keys = [key for key in archive.keys if key.startswith("labels.") and key.removeprefix("labels.") not in network.outputs]
    if not keys:
        return
    name = keys[0].removeprefix("labels.")
    meant = near([name], network.outputs).get(name) or (network.outputs[0] if len(network.outputs) == 1 else None)
    findings.error(
        "NM802", f"{listed(keys)} {_names(keys)} no output of the network; {_those('output', network.outputs)}", where=str(archive.path),
        help=(f"name it {listed([f'labels.{meant}'])}",) if meant else ("name the output whose neurons the labels number",),
    )


def _names(keys: Sequence[str]) -> str:
    return "names" if len(keys) == 1 else "name"


def _those(noun: str, names: Sequence[str]) -> str:
    return f"its only {noun} is {listed(names)}" if len(names) == 1 else f"its {noun}s are {listed(names)}"


def tell_unread(archive: Archive, network: Network, suffixes: dict[str, str], findings: Findings) -> None:
    """Record arrays that nothing reads, all in one NM803: a warning where one is nearly spelt as one that would be read, else a note."""
    unread = [
        key for key in archive.keys
        if key not in archive.asked and key.partition(".")[0] not in _COMPANIONS and not key.startswith("reference")
    ]
    if not unread:
        return
    known = ["steps", "dt"]
    if not any(key in archive.asked for key in ("labels", "label", *(f"labels.{name}" for name in network.outputs))):
        known += ["labels", "label", *(f"labels.{name}" for name in network.outputs if len(network.outputs) > 1)]
    for suffix in suffixes.values():
        if f"inputs{suffix}" not in archive:
            known += [f"{key}{suffix}" for key in ("value", "offsets", "binary")]
    meant = near(unread, [key for key in known if key not in archive])
    findings.add(
        "NM803", "warning" if meant else "note",
        f"{listed(unread)} of the samples {'is' if len(unread) == 1 else 'are'} not read", where=str(archive.path),
        why=None if meant else "an array is read by its name, and no such name is known for these samples",
        help=did_you_mean(meant, 3),
    )
