"""Spike files of every encoding."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap_truenorth.model.model import Events, Model
from nmap_truenorth.model.read import read_outputs_file, read_spikes
from nmap_truenorth.model.spikes import (
    Connector,
    read_connectors,
    write_connectors,
    write_rawi3,
    write_rawo6,
    write_sfcp,
    write_sfti,
    write_sfto,
)
from tests.unit.truenorth.model_files import ranc_model, small_model, text_model

HEAD = '{"class":"SpikeWriter","encoding":"TEXT","nscsVersion":"1.4.0"}\n{"version":"sfti1.0", "defaultDestinationDelay" : 1}\n'


def model(**changed: Any) -> Model:
    """Return a model whose cores have the ids 9 and 4."""
    return small_model(cores=2, **({"ids": np.array([9, 4])} | changed))


def spikes(folder: Path, content: str | bytes, given: Model | None = None, name: str = "s.sfti") -> list[tuple[int, int, int]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    events = read_spikes(path, given or model(), Findings())
    return list(zip(events.tick.tolist(), events.core.tolist(), events.axon.tolist(), strict=True))


def codes(folder: Path, content: str | bytes, given: Model | None = None, name: str = "s.sfti") -> list[str]:
    with pytest.raises(NmapError) as caught:
        spikes(folder, content, given, name)
    assert all(d.where for d in caught.value.diagnostics)
    return [d.code for d in caught.value.diagnostics]


def line(time: Any, core: Any, axon: Any, **more: Any) -> str:
    return json.dumps({"spike": {"srcTime": time, "destCore": core, "destAxon": axon} | more}) + "\n"


def test_text_spikes_in_any_order(tmp_path: Path) -> None:
    """Cores by id, two header lines, spikes out of order, one twice, without a last line end."""
    text = HEAD + line(7, 4, 3) + line(2, 9, 15) + line(2, 4, 0) + line(2, 4, 0).rstrip()
    assert spikes(tmp_path, text) == [(2, 0, 15), (2, 1, 0), (2, 1, 0), (7, 1, 3)]


def test_delays_of_the_file(tmp_path: Path) -> None:
    """A spike is seen srcTime + delay; events count so that the model's own delay is added."""
    text = HEAD.replace(": 1}", ": 3}") + line(2, 9, 1) + line(2, 9, 2, destDelay=1)
    assert spikes(tmp_path, text) == [(2, 0, 2), (4, 0, 1)]
    assert spikes(tmp_path, HEAD + line(0, 9, 1), model(input_delay=0)) == [(1, 0, 1)]
    assert spikes(tmp_path, "/* none */ " + line(5, 9, 1)) == [(5, 0, 1)]


def test_spikes_as_keys_come(tmp_path: Path) -> None:
    """Other orders of keys, source entries, headers of several lines, commas between."""
    first = '{"spike":{"destAxon":1,"srcNeuron":2,"srcTime":3,"srcCore":4,"destCore":9,"destDelay":1}},\n'
    text = '{\n "class":"SpikeWriter",\n "encoding":"TEXT"\n}\n' + first + line(1, 4, 2)
    assert spikes(tmp_path, text) == [(1, 1, 2), (3, 0, 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + line(0, 5, 0), ["NM107"]),
        (HEAD + line(0, 9, 16), ["NM107"]),
        (HEAD + line(0, 9, -1), ["NM107"]),
        (HEAD + line(-1, 9, 0), ["NM107"]),
        (HEAD + line(0.5, 9, 0), ["NM107"]),
        (HEAD + line(2**40, 9, 0), ["NM107"]),
        (HEAD + '{"spike":{"srcTime":0,"destCore":9}}', ["NM103"]),
        (HEAD + '{"spike":3}', ["NM106"]),
        (HEAD + '{"spike":{"srcTime":0', ["NM103"]),
        (HEAD + "3", ["NM106"]),
        (HEAD.replace(": 1}", ": 16}"), ["NM107"]),
        (HEAD.replace(": 1}", ": 0}"), ["NM107"]),
        ('{"hello":"world"}', ["NM102"]),
        ("{}", ["NM102"]),
        ("/* nothing */", ["NM102"]),
        ('{"name":"package","version":"1.0"}', ["NM102"]),
        (text_model(), ["NM102"]),
        (HEAD + line(0, 9, 0) + '{"spikes":{"srcTime":0,"destCore":9,"destAxon":1}}\n{"Spike":3}', ["NM102"] * 2),
        (HEAD.replace("TEXT", "RAWI3") + line(0, 9, 0), ["NM106"]),
        ("", ["NM102"]),
        ("spikes", ["NM102"]),
        ("[1, 2, 3]", ["NM107"] * 3),
        ("[[0, 9]]", ["NM107"]),
        ("[[0, 9, 1]", ["NM103"]),
        ("[[0, 9, 1e400]]", ["NM107"]),
        ('{"packets":[]}', ["NM106"]),
        ('{"output_bus":{},"cores":[]}', ["NM106"]),
    ],
)
def test_what_is_wrong(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Unknown cores and axons, numbers of other kinds, cut files."""
    assert codes(tmp_path, text) == expected


@pytest.mark.parametrize("delay", [0, 16, 1000])
def test_delays_out_of_range_are_told_with_their_line(tmp_path: Path, delay: int) -> None:
    """1 to 15 are what the chip's scheduler holds."""
    with pytest.raises(NmapError) as caught:
        spikes(tmp_path, HEAD + line(0, 9, 0, destDelay=1) + line(0, 9, 1, destDelay=delay) + line(0, 9, 1, destDelay=15))
    [found] = caught.value.diagnostics
    assert (found.code, str(found.where).rpartition(":")[2]) == ("NM107", "line 4")
    assert f"a delay of {delay} ticks" in found.message


def test_what_is_no_spike_is_told_with_its_line(tmp_path: Path) -> None:
    """And what was expected there."""
    with pytest.raises(NmapError) as caught:
        spikes(tmp_path, HEAD + line(0, 9, 0) + '{"spikes":{"srcTime":0,"destCore":9,"destAxon":1}}')
    [found] = caught.value.diagnostics
    assert str(found.where).endswith(":line 4")
    assert found.message.startswith("an object of `spikes` is neither a spike (`spike`) nor a header (`class`, `encoding`")


def test_headers_of_others(tmp_path: Path) -> None:
    """Objects of any keys before the spikes of a file that has some; not if they look like spikes."""
    path = tmp_path / "s.sfti"
    path.write_text('{"made by":"somebody"}\n' + HEAD.replace(": 1}", ": 2}") + '{"on":{"a":"Monday"}}\n' + line(4, 9, 0))
    findings = Findings()
    assert read_spikes(path, model(), findings).tick.tolist() == [5]
    assert [(d.code, d.severity, d.message.split("`")[1]) for d in findings] == [("NM112", "note", "made by"), ("NM112", "note", "on")]
    assert codes(tmp_path, HEAD + '{"Spike":{"srcTime":0,"destCore":9,"destAxon":1}}\n' + line(4, 9, 0)) == ["NM102"]


def test_many_wrong_spikes_are_counted(tmp_path: Path) -> None:
    """Ten are told, the others are a number."""
    with pytest.raises(NmapError, match="90 more"):
        spikes(tmp_path, HEAD + "".join(line(k, 5, 0) for k in range(100)))


def test_a_ranc_model_without_packets_has_no_spikes(tmp_path: Path) -> None:
    """As one with an empty list of them."""
    places = np.array([[0, 0], [1, 0]])
    content = ranc_model()
    del content["packets"]
    assert spikes(tmp_path, json.dumps(content), model(places=places)) == []


def test_the_neutral_list(tmp_path: Path) -> None:
    """`[tick, core, axon]`, ticks as they are."""
    assert spikes(tmp_path, "[[3, 4, 1], [0, 9, 2]]", model(input_delay=0)) == [(0, 0, 2), (3, 1, 1)]
    assert spikes(tmp_path, "[]") == []


def raw(encoding: str, words: list[tuple[int, ...]], more: str = "") -> bytes:
    head = f'{{"class":"SpikeWriter","nscsVersion":"1.4.0","encoding":"{encoding}"}}\n{{"defaultDestinationDelay":1{more}}}'
    return head.encode() + b"\xff" + b"".join(struct.pack(f">{len(row)}i", *row) for row in words)


def test_raw_spikes(tmp_path: Path) -> None:
    """Three or six big-endian words behind 0xFF; of six, the destination and its delay count."""
    assert spikes(tmp_path, raw("RAWI3", [(258, 9, 5), (1, 4, 6)])) == [(1, 1, 6), (258, 0, 5)]
    assert spikes(tmp_path, raw("RAWO6", [(3, 7, 7, 9, 1, 4)])) == [(6, 0, 1)]
    assert codes(tmp_path, raw("RAWI3", [(1, 9, 5)])[:-1]) == ["NM103"]
    assert codes(tmp_path, raw("RAWI9", [(1, 9, 5)])) == ["NM106"]
    assert codes(tmp_path, b'{"encoding":\xff') == ["NM103"]
    for delay in (0, 16, -1):
        assert codes(tmp_path, raw("RAWO6", [(3, 7, 7, 9, 1, delay)])) == ["NM107"]


def test_words_of_raw_inputs_have_no_sign(tmp_path: Path) -> None:
    """A time of 2**32 - 1 is not one before tick 0, and beyond what is run, as any from 2**31 on."""
    assert spikes(tmp_path, raw("RAWI3", [(2**31 - 1, 9, 5)])) == [(2**31 - 1, 0, 5)]
    for word, shown in ((-1, "4294967295"), (-(2**31), "2147483648")):
        for row in ((word, 9, 5), (0, word, 5), (0, 9, word)):
            with pytest.raises(NmapError, match=shown) as caught:
                spikes(tmp_path, raw("RAWI3", [row]))
            assert [d.code for d in caught.value.diagnostics] == ["NM107"]
    assert codes(tmp_path, raw("RAWO6", [(-1, 7, 7, 9, 1, 4)])) == ["NM107"]


def connectors() -> list[Connector]:
    return [
        Connector("first image", False, np.array([9, 4, 9]), np.array([1, 2, 3])),
        Connector("second", False, np.array([4] * 3), np.array([7, 8, 9])),
    ]


def connpin(blocks: bytes, **entries: Any) -> bytes:
    listed = [
        {"ID": 0, "name": "first image", "csize": 3, "bpp": 8, "delayMode": 0},
        {"ID": 5, "name": "second", "csize": 3, "bpp": 16, "delayMode": 1},
    ]
    header = {"maxBlockSize": 1024, "ioMapFile": "", "connectors": listed} | entries
    return b'{"class":"SpikeWriter", "encoding":"CONNPIN"}\n' + json.dumps(header, indent=1).encode() + b"\n\xff" + blocks


MARK = bytes.fromhex("fefcfefc")
BLOCKS = (
    MARK + bytes.fromhex("00000002 0000000000000000") + bytes.fromhex("0000 0002 00 02") + bytes.fromhex("0005 0001 0001 03")
    + MARK + bytes.fromhex("00000100 0000000000000000") + bytes.fromhex("0000 0001 01")
    + MARK + bytes.fromhex("ffffffff 0000000000000000")
)  # fmt: skip


def test_connector_pins(tmp_path: Path) -> None:
    """Blocks of a tick, connectors of one- and two-byte pins, delays where the connector has them, the map beside the file."""
    (tmp_path / "net_inpMap.bin").write_bytes(write_connectors(connectors()))
    expected = [(2, 0, 1), (2, 0, 3), (4, 1, 8), (256, 1, 2)]
    assert spikes(tmp_path, connpin(BLOCKS), name="net_inputSpikes.sfcp") == expected
    assert spikes(tmp_path, connpin(BLOCKS, ioMapFile="net_inpMap.bin"), name="other.sfcp") == expected
    assert spikes(tmp_path, connpin(BLOCKS), model(file="net.json"), name="other.sfcp") == expected
    assert codes(tmp_path, connpin(BLOCKS), name="other.sfcp") == ["NM103"]


def test_connector_ticks_and_delays_out_of_range(tmp_path: Path) -> None:
    """Delay bytes and defaults of 0 and 16, and a tick of which the sign bit is set; of recorded outputs, too."""
    (tmp_path / "net_inpMap.bin").write_bytes(write_connectors(connectors()))
    for delay in (0, 16, 255):
        block = MARK + bytes(12) + bytes.fromhex("0005 0001 0001") + bytes([delay])
        assert codes(tmp_path, connpin(block), name="net_x.sfcp") == ["NM107"]
    listed = [{"ID": 0, "name": "first image", "csize": 3, "bpp": 8, "delayMode": 0, "defaultDestinationDelay": 16}]
    assert codes(tmp_path, connpin(b"", connectors=listed), name="net_x.sfcp") == ["NM107"]
    late = MARK + bytes.fromhex("80000000 0000000000000000") + bytes.fromhex("0000 0001 00")
    assert codes(tmp_path, connpin(late), name="net_x.sfcp") == ["NM107"]
    pins = [Connector(connector.name, True, connector.core, connector.pin) for connector in connectors()]
    (tmp_path / "net_outMap.bin").write_bytes(write_connectors(pins))
    with pytest.raises(NmapError, match="2147483648"):
        outputs(tmp_path, connpin(late), "net_x.sfcp")


@pytest.mark.parametrize("cut", [1, 3, 8, 14, 17, 19, 23, 40])
def test_cut_connector_files(tmp_path: Path, cut: int) -> None:
    """A block or a connector that is cut short is told; no file makes a traceback."""
    (tmp_path / "net_inpMap.bin").write_bytes(write_connectors(connectors()))
    if cut in (1, 3, 8, 14, 17, 19, 23):
        assert codes(tmp_path, connpin(BLOCKS[:cut]), name="net_x.sfcp") in (["NM103"], ["NM106"])
    else:
        assert spikes(tmp_path, connpin(BLOCKS[: len(BLOCKS) - 16]), name="net_x.sfcp")


@pytest.mark.parametrize(
    "blocks",
    [
        MARK + bytes(12) + bytes.fromhex("0000 0001 03"),
        MARK + bytes(12) + bytes.fromhex("0001 0001 00"),
        bytes.fromhex("0000 0001 00"),
    ],
)
def test_pins_and_connectors_that_are_not_there(tmp_path: Path, blocks: bytes) -> None:
    """Pin 3 of 3, connector 1 of those of the header, spikes before any block."""
    (tmp_path / "net_inpMap.bin").write_bytes(write_connectors(connectors()))
    assert codes(tmp_path, connpin(blocks), name="net_x.sfcp") in (["NM106"], ["NM107"])


def test_connector_maps_by_their_bytes() -> None:
    """Seven words, a UTF-16 name, 32-bit cores and 16-bit pins."""
    data = struct.pack("<7I", 0, 1, 2, 2, 1, 1, 3) + "out".encode("utf-16-le") + struct.pack("<2I", 70000, 1) + struct.pack("<2H", 0, 255)
    [connector] = read_connectors(data)
    assert (connector.name, connector.output, connector.core.tolist(), connector.pin.tolist()) == ("out", True, [70000, 1], [0, 255])
    assert write_connectors([connector]) == data


def test_inputs_are_written_and_read_back(tmp_path: Path) -> None:
    """TEXT, RAWI3 and CONNPIN give the events back."""
    given = model()
    rng = np.random.default_rng(0)
    events = Events.ordered(rng.integers(0, 300, 50), rng.integers(0, 2, 50), rng.integers(0, 16, 50))
    expected = list(zip(events.tick.tolist(), events.core.tolist(), events.axon.tolist(), strict=True))
    assert spikes(tmp_path, write_sfti(events, given), given) == expected
    assert spikes(tmp_path, write_rawi3(events, given), given) == expected
    pins = [Connector("all", False, np.repeat(given.ids, 16), np.tile(np.arange(16), 2))]
    (tmp_path / "map.bin").write_bytes(write_connectors(pins))
    rows = np.column_stack([events.tick, given.ids[events.core], events.axon])
    assert spikes(tmp_path, write_sfcp(rows, pins, "map.bin"), given) == expected


def test_a_text_file_is_ibm_s_to_the_letter() -> None:
    """Header and spike lines as IBM's simulator reads them."""
    events = Events(np.array([3]), np.array([1]), np.array([12]))
    assert write_sfti(events, model()).decode() == (
        '{"class":"SpikeWriter","encoding":"TEXT","nscsVersion":"1.4.0"}\n{"version":"sfti1.0","defaultDestinationDelay":1}\n'
        '{"spike":{"srcTime":3,"destCore":4,"destAxon":12}}\n'
    )
    assert write_rawi3(events, model()).endswith(b"\xff" + struct.pack(">3I", 3, 4, 12))
    with pytest.raises(ValueError, match="tick 0"):
        write_sfti(Events(np.array([0]), np.array([1]), np.array([12])), model(input_delay=0))


def outputs(folder: Path, content: bytes, name: str = "s.sfto") -> list[list[int]]:
    path = folder / name
    path.write_bytes(content)
    rows: list[list[int]] = read_outputs_file(path, Findings()).tolist()
    return rows


def test_outputs_are_written_and_read_back(tmp_path: Path) -> None:
    """TEXT and RAWO6 with the target that the model states; CONNPIN with its map of outputs."""
    given = model()
    rows = np.array([[9, 9, 3], [1, 4, 0], [1, 4, 15], [0, 9, 7]])
    expected = sorted(rows.tolist())
    for content in (write_sfto(rows, given), write_rawo6(rows, given)):
        assert outputs(tmp_path, content) == expected
    assert outputs(tmp_path, write_sfto(rows[:0], given)) == []
    pins = [Connector("neurons", True, np.repeat(given.ids, 16), np.tile(np.arange(16), 2))]
    (tmp_path / "net_outMap.bin").write_bytes(write_connectors(pins))
    assert outputs(tmp_path, write_sfcp(rows, pins, ""), "net_outputSpikes0.sfcp") == expected
    with pytest.raises(NmapError, match="which neurons"):
        outputs(tmp_path, (HEAD + line(0, 9, 1)).encode())


def test_an_output_line_is_ibm_s_to_the_letter() -> None:
    """The keys in IBM's order; target and delay are the neuron's."""
    shape = (2, 16)
    given = model(
        enabled=np.ones(shape, bool),
        target=np.where(np.arange(16) < 8, 1, -2) + np.zeros(shape, int),
        target_core=np.where(np.arange(16) < 8, 4, -40) + np.zeros(shape, int),
        target_axon=np.full(shape, 11),
        delay=np.full(shape, 6),
    )
    lines = write_sfto(np.array([[2, 9, 1], [3, 4, 9]]), given).decode().splitlines()[2:]
    assert lines == [
        '{"spike":{"srcTime":2,"srcCore":9,"srcNeuron":1,"destCore":4,"destAxon":11,"destDelay":6}}',
        '{"spike":{"srcTime":3,"srcCore":4,"srcNeuron":9,"destCore":-40,"destAxon":11,"destDelay":6}}',
    ]


def test_edited_binary_files_are_read_or_refused(tmp_path: Path) -> None:
    """Four hundred edits of bytes: events or an NmapError, nothing else."""
    rng = np.random.default_rng(11)
    (tmp_path / "net_inpMap.bin").write_bytes(write_connectors(connectors()))
    bases = [connpin(BLOCKS), raw("RAWI3", [(258, 9, 5), (1, 4, 6)]), raw("RAWO6", [(3, 7, 7, 9, 1, 4)]), (HEAD + line(0, 9, 1)).encode()]
    outcomes = {True: 0, False: 0}
    odd: list[Diagnostic] = []
    for turn in range(400):
        data = bytearray(bases[turn % 4])
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        if turn % 5 == 0:
            del data[int(rng.integers(len(data))) :]
        try:
            spikes(tmp_path, bytes(data), name="net_x.bin")
            outcomes[True] += 1
        except NmapError as error:
            odd += [d for d in error.diagnostics if not d.where or not d.code.startswith("NM1")]
            outcomes[False] += 1
    assert not odd
    assert min(outcomes.values()) > 20
