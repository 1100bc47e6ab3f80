"""Recordings of random networks from the shipped SpiNNaker 1 core binaries: a development tool.

sPyNNaker in virtual mode writes the exact bytes that every core would get. This tool builds a network with it, loads these
bytes and the core binaries of its wheel into the CPU emulator Unicorn, emulates the few peripherals that the binaries touch
(interrupt controller, timer, DMA, communications and system controller), carries packets along sPyNNaker's own routing tables in
no time, and reads the recordings out of the emulated memory. So the numbers come from the firmware, not from anybody's equations.

Unicorn is GPL-2.0. It is imported only when this tool runs, and is never a dependency of nmap. sPyNNaker is Apache-2.0.

Run it with an interpreter that has `spynnaker` (7.4.1) and `unicorn` (2.1); everything else is in this file::

    python tests/oracles/spinnaker_binaries.py make tests/golden/spinnaker            # all vectors of RECIPES
    python tests/oracles/spinnaker_binaries.py make tests/golden/spinnaker exp_1ms    # one of them
    python tests/oracles/spinnaker_binaries.py random 7 out.npz                       # one random network of a seed
    python tests/oracles/spinnaker_binaries.py run network.npz out.npz                # a network of the file format below

A file (`.npz`) holds `meta`, a JSON text, and arrays. `meta`: `timestep_ms`, `steps`, `populations` (list of `label`, `size`, `kind`
"cells" or "source", and for cells `model`, `params` (name to number or "array"), `v`, `bound`, `neurons_per_core`), `projections` (list of
`label`, `pre`, `post`, `receptor`). Arrays: `p{k}.{param}` float64 (n,), `s{k}.neuron` and `s{k}.step` (spikes of a source),
`e{k}.pre`, `e{k}.post`, `e{k}.weight`, `e{k}.delay` (ms). Recordings of population k: `r{k}.v`, `r{k}.gsyn_exc` and `r{k}.gsyn_inh`, int32
raw s16.15, and `r{k}.spikes`, uint8, all (steps, n), as the cores write them in a tick: before the update, after the tick's input.

Written by this tool besides, by population: `meta["shifts"]` (ring-buffer shifts of the receptors, the host's choice),
`meta["saturations"]` (additions to ring buffers that were cut, the cores' own count, which depends on the order of packets) and
`meta["slots"]` (steps of delay that a core has room for), and `meta["delay_cores"]` (cores that carry longer delays).

sPyNNaker 7.4.1 lays out the rows of synapses behind delay cores with the target's neurons per core, where the delay cores count in the
source's: longer delays arrive only where the two are the same, or one stage suffices and the source lies on one core. Networks here keep
to that.

What the emulation leaves out: time (every core finishes before the next tick), so no lost packets and no overruns.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import json
import mmap
import os
import sqlite3
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Network = tuple[dict[str, Any], dict[str, np.ndarray]]

CONFIG = """[Machine]
virtual_board = True
version = 5
[Mode]
mode = Debug
[Reports]
write_network_graph = False
"""

# --- the chip as the binaries see it (spinnaker.h and sark.h of spinnaker_tools) ---

ITCM, DTCM = (0x00000000, 0x8000), (0x00400000, 0x10000)
SDRAM, SDRAM_SIZE = (0x60000000, 0x70000000), 128 << 20
SYSRAM, SYSRAM_SIZE = (0xE5000000, 0xF5000000), 0x8000
SV, VCPU, VCPU_SIZE = 0x7F00, 0x7000, 128
COMMS, TIMER, VIC, DMA, ROUTER, SYSTEM = (
    (0x10000000, 0x20000000),
    (0x11000000, 0x21000000),
    (0x1F000000, 0x2F000000, 0xFFFFF000),
    (0x30000000, 0x40000000),
    (0xF1000000, 0xE1000000),
    (0xF2000000, 0xE2000000),
)
SOFTWARE_INT, TIMER_INT, SENT_INT, DMA_INT, CPU_INT, PACKET_INT = 1, 4, 11, 12, 18, 24
WAIT_FOR_INTERRUPT = 0xEE070F90  # mcr p15, 0, r0, c7, c0, 4
SET_MODE = (0xE121F000, 0xE12FF000)  # msr cpsr_c, r? and msr cpsr_cxsf, r?
NO_OPERATION = 0xE1A00000
MAGIC, VERSION, REGIONS = 0xAD130AD6, 0x00010000, 32
CMD_RUNTIME = 7
LARGEST_MESSAGE = 272  # of a source's buffer, bytes
# Regions of a core of cells, and the counts of its provenance region (population_machine_vertex.py).
PROVENANCE, RECORDING = 10, 15
LOSSES = (
    "tx_overflow", "task_overflow", "dma_overflow", "user_overflow", "tick_overrun", "n_ghost_searches", "n_failed_bitfield_reads",
    "n_invalid_pop_table_hits", "n_skipped_synapses", "n_late_spikes", "n_buffer_overflows", "n_late_packets",
)  # fmt: skip
COUNTS = (
    "tx_overflow", "task_overflow", "dma_overflow", "user_overflow", "tick_overrun", "tick_overrun_most",
    "current_timer_tick", "n_tdma_misses", "earliest_send", "latest_send",
    "n_pre_synaptic_events", "n_saturations", "n_plastic_saturations", "n_ghost_searches", "n_failed_bitfield_reads",
    "n_invalid_pop_table_hits", "n_filtered_by_bitfield", "n_skipped_synapses", "n_late_spikes", "max_late_spike",
    "n_buffer_overflows", "n_dmas_complete", "n_spikes_processed", "n_rewires", "n_late_packets", "max_size_input_buffer",
)  # fmt: skip
ERROR_STATES = (2,)  # run time exception


class HaltedError(RuntimeError):
    """A core stopped with an error; the text names the core, its state and what it logged."""


@dataclass
class Core:
    """One emulated core: its binary, its image and the peripherals that belong to it."""

    x: int
    y: int
    p: int
    binary_name: str
    binary: bytes
    regions: dict[int, tuple[int, bytes]]
    sent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        import unicorn
        from unicorn import arm_const as arm

        self.unicorn, self.arm = unicorn, arm
        self.cpu = cpu = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_ARM)
        cpu.ctl_set_cpu_model(arm.UC_CPU_ARM_926)
        for base, size in (ITCM, DTCM):
            cpu.mem_map(base, size)
        self.memories = []
        for bases, size in ((SDRAM, SDRAM_SIZE), (SYSRAM, SYSRAM_SIZE)):
            self.memories.append(mmap.mmap(-1, size))
            address = ctypes.addressof(ctypes.c_char.from_buffer(self.memories[-1]))
            for base in bases:
                cpu.mem_map_ptr(base, size, unicorn.UC_PROT_ALL, address)
        self.vic = {"enable": 0, "select": 0, "soft": 0, "vectors": [0] * 16, "controls": [0] * 16}
        self.raw = 1 << SENT_INT
        self.packets: collections.deque[int] = collections.deque()
        self.dma = [0] * 128
        self.timer_load = self.timer_count = 0
        self.ticking = False
        self.wait_at = -1
        for bases, size, read, write in (
            (COMMS, 0x1000, self._comms_read, self._comms_write),
            (TIMER, 0x1000, self._timer_read, self._timer_write),
            (VIC, 0x1000, self._vic_read, self._vic_write),
            (DMA, 0x1000, self._dma_read, self._dma_write),
            (ROUTER, 0x20000, _zero, _ignore),
            (SYSTEM, 0x1000, self._system_read, self._system_write),
        ):
            for base in bases:
                cpu.mmio_map(base, size, read, None, write, None)
        self._boot()

    # --- peripherals ---

    def _comms_read(self, _uc: Any, offset: int, _size: int, _user: Any) -> int:
        if offset == 0x14:
            key = self.packets.popleft() if self.packets else 0
            if not self.packets:
                self.raw &= ~(1 << PACKET_INT)
            return key
        return 0x90000000 if offset == 0 else 0  # the transmitter is empty and not full

    def _comms_write(self, _uc: Any, offset: int, _size: int, value: int, _user: Any) -> None:
        if offset == 0x08:
            self.sent.append(value & 0xFFFFFFFF)

    def _timer_read(self, _uc: Any, offset: int, _size: int, _user: Any) -> int:
        if offset == 0x04:
            self.timer_count = max(self.timer_count - 20, 0)
            return self.timer_count
        return self.timer_load if offset == 0 else 0

    def _timer_write(self, _uc: Any, offset: int, _size: int, value: int, _user: Any) -> None:
        if offset == 0x00:
            self.timer_load = self.timer_count = value
        elif offset == 0x08:
            self.ticking = bool(value & 0x80)
        elif offset == 0x0C:
            self.raw &= ~(1 << TIMER_INT)

    def _vic_read(self, _uc: Any, offset: int, _size: int, _user: Any) -> int:
        vic = self.vic
        raw = self.raw | vic["soft"]
        values = {0x00: raw & vic["enable"] & ~vic["select"], 0x04: raw & vic["enable"] & vic["select"], 0x08: raw, 0x0C: vic["select"]}
        if offset in values:
            return int(values[offset])
        if offset == 0x10:
            return int(vic["enable"])
        if 0x100 <= offset < 0x140:
            return int(vic["vectors"][(offset - 0x100) >> 2])
        if 0x200 <= offset < 0x240:
            return int(vic["controls"][(offset - 0x200) >> 2])
        return 0

    def _vic_write(self, _uc: Any, offset: int, _size: int, value: int, _user: Any) -> None:
        vic = self.vic
        if offset == 0x0C:
            vic["select"] = value
        elif offset == 0x10:
            vic["enable"] |= value
        elif offset == 0x14:
            vic["enable"] &= ~value
        elif offset == 0x18:
            vic["soft"] |= value
        elif offset == 0x1C:
            vic["soft"] &= ~value
        elif 0x100 <= offset < 0x140:
            vic["vectors"][(offset - 0x100) >> 2] = value
        elif 0x200 <= offset < 0x240:
            vic["controls"][(offset - 0x200) >> 2] = value

    def _dma_read(self, _uc: Any, offset: int, _size: int, _user: Any) -> int:
        if offset == 0x14:
            return self.p << 24 | (1 << 10 if self.raw & (1 << DMA_INT) else 0)
        return self.dma[offset >> 2] if offset < 0x200 else 0

    def _dma_write(self, uc: Any, offset: int, _size: int, value: int, _user: Any) -> None:
        if offset >= 0x200:
            return
        self.dma[offset >> 2] = value
        if offset == 0x0C:
            system, local, length = self.dma[1], self.dma[2], value & 0x7FFFF
            source, sink = (local, system) if value & (1 << 19) else (system, local)
            uc.mem_write(sink, bytes(uc.mem_read(source, length)))
            self.raw |= 1 << DMA_INT
        elif offset == 0x10 and value & 0x08:
            self.raw &= ~(1 << DMA_INT)

    def _system_read(self, _uc: Any, _offset: int, _size: int, _user: Any) -> int:
        return 0

    def _system_write(self, _uc: Any, offset: int, _size: int, _value: int, _user: Any) -> None:
        if offset == 0x0C:
            self.raw &= ~(1 << CPU_INT)

    # --- loading ---

    def _boot(self) -> None:
        entry = self._load_binary()
        self._load_image()
        self._system_variables()
        self._hook()
        arm = self.arm
        self.cpu.reg_write(arm.UC_ARM_REG_CPSR, 0xD3)  # supervisor mode, interrupts off
        self.cpu.reg_write(arm.UC_ARM_REG_R0, 30)  # the application's number
        self.cpu.reg_write(arm.UC_ARM_REG_PC, entry)
        self._run_to_wait()

    def _load_binary(self) -> int:
        """Carry out the table at the start of the file as the loader in the binary would; returns the address to start at."""
        position = 0
        while True:
            operation, first, second, third = struct.unpack_from("<4I", self.binary, position)
            position += 16
            if operation == 2:
                start = position - 16 + second
                data = self.binary[start : start + third]
                self.cpu.mem_write(first, data)
            elif operation == 3:
                self.cpu.mem_write(first, struct.pack("<I", third) * (-(-second // 4)))
            elif operation == 4:
                return first
            else:
                raise HaltedError(f"operation {operation} of the binary's table is not known")

    def _heap(self, base: int, top: int) -> None:
        """A heap of one free block as `sark_heap_init` makes it: free, first, last, free bytes, then the blocks."""
        first, last = base + 16, top - 8
        self.cpu.mem_write(base, struct.pack("<4I", first, first, last, last - first - 8))
        self.cpu.mem_write(first, struct.pack("<2I", last, 0))
        self.cpu.mem_write(last, struct.pack("<2I", 0, 0))

    def _system_variables(self) -> None:
        cpu, base = self.cpu, SYSRAM[1] + SV
        top = SDRAM[0] + SDRAM_SIZE
        self._heap(self.heap_base, top - 0x200000)
        self._heap(top - 0x200000, top - 0x100000)

        def put(offset: int, form: str, *values: int) -> None:
            cpu.mem_write(base + offset, struct.pack("<" + form, *values))

        put(0x00, "H", self.x << 8 | self.y)
        put(0x24, "2H", 200, 130)
        put(0x48, "2I", 0, self.heap_base)
        put(0x50, "3I", 16384, top - 0x100000, 0x1000)
        message = SYSRAM[1] + 0x1000
        messages = [message + 300 * k for k in range(8)]
        for this, following in zip(messages, [*messages[1:], 0], strict=True):
            cpu.mem_write(this, struct.pack("<I", following))
        put(0x68, "I2H", messages[0], 0, 0)
        put(0x94, "20B", *range(20))
        put(0xA8, "20B", *range(20))
        put(0xBC, "B", 18)
        put(0xCC, "2I", SYSRAM[1] + VCPU, top - 0x200000)
        put(0xDC, "I", top - 0x80000)
        put(0xE4, "I", SYSRAM[1] + 0x4000)
        put(0xFC, "I", 0x0004FF00)  # a monitor of major version 4 and of no less minor version than the binary asks for
        self.messages = messages

    def _load_image(self) -> None:
        """Regions one behind the other and the pointer table before them, as sPyNNaker's loader does with a real board."""
        table = bytearray(8 + REGIONS * 12)
        struct.pack_into("<2I", table, 0, MAGIC, VERSION)
        start = SDRAM[0] + 0x1000
        address = start + len(table)
        self.pointers: dict[int, int] = {}
        for number, (size, content) in sorted(self.regions.items()):
            self.pointers[number] = address
            padded = content + bytes(-len(content) % 4)
            words = np.frombuffer(padded, dtype="<u4")
            struct.pack_into("<3I", table, 8 + 12 * number, address, int(words.sum(dtype=np.uint64)) & 0xFFFFFFFF, len(words))
            self.cpu.mem_write(address, padded)
            address += size + (-size % 4)
        self.heap_base = (address + 15) & ~15
        self.cpu.mem_write(start, bytes(table))
        self.cpu.mem_write(self.vcpu + 112, struct.pack("<I", start))

    @property
    def vcpu(self) -> int:
        return SYSRAM[1] + VCPU + VCPU_SIZE * self.p

    def _hook(self) -> None:
        cpu, code = self.cpu, bytes(self.cpu.mem_read(*ITCM))
        for address in range(0, ITCM[1], 4):
            word = struct.unpack_from("<I", code, address)[0]
            if word == WAIT_FOR_INTERRUPT:
                cpu.mem_write(address, struct.pack("<I", NO_OPERATION))
                cpu.hook_add(self.unicorn.UC_HOOK_CODE, self._at_wait, None, address, address)
            elif word & ~0xF in SET_MODE:
                cpu.hook_add(self.unicorn.UC_HOOK_CODE, self._at_mode, None, address + 4, address + 4)

    # --- running ---

    def _pending(self) -> int:
        return int((self.raw | self.vic["soft"]) & self.vic["enable"])

    def _at_wait(self, uc: Any, address: int, _size: int, _user: Any) -> None:
        if not self._pending():
            self.wait_at = address
            uc.emu_stop()

    def _at_mode(self, uc: Any, _address: int, _size: int, _user: Any) -> None:
        pending = self._pending()
        if pending and self._takes(uc.reg_read(self.arm.UC_ARM_REG_CPSR), pending):
            uc.emu_stop()

    def _takes(self, status: int, pending: int) -> str:
        if pending & self.vic["select"] and not status & 0x40:
            return "fiq"
        return "irq" if pending & ~self.vic["select"] and not status & 0x80 else ""

    def _interrupt(self) -> bool:
        """Enter the handler of the most urgent interrupt that is pending and not masked; False without one."""
        arm, cpu = self.arm, self.cpu
        status, pending = cpu.reg_read(arm.UC_ARM_REG_CPSR), self._pending()
        kind = self._takes(status, pending)
        if not kind:
            return False
        back = cpu.reg_read(arm.UC_ARM_REG_PC) + 4
        if kind == "fiq":
            target, mode = struct.unpack("<I", bytes(cpu.mem_read(0x3C, 4)))[0], 0x11 | 0xC0
        else:
            wanted = pending & ~self.vic["select"]
            slots = [k for k, control in enumerate(self.vic["controls"]) if control & 0x20 and wanted >> (control & 0x1F) & 1]
            if not slots:
                raise HaltedError(f"core {self.p}: no vector for the interrupts {wanted:#x}")
            target, mode = self.vic["vectors"][slots[0]], 0x12 | 0x80 | (status & 0x40)
        cpu.reg_write(arm.UC_ARM_REG_CPSR, (status & ~0xFF) | mode)
        cpu.reg_write(arm.UC_ARM_REG_SPSR, status)
        cpu.reg_write(arm.UC_ARM_REG_LR, back)
        cpu.reg_write(arm.UC_ARM_REG_PC, target)
        return True

    def _run_to_wait(self) -> None:
        """Run until the core waits for an interrupt and none is pending."""
        arm, cpu = self.arm, self.cpu
        while True:
            self.wait_at = -1
            begin = cpu.reg_read(arm.UC_ARM_REG_PC)
            if cpu.reg_read(arm.UC_ARM_REG_CPSR) & 0x20:
                begin |= 1
            try:
                cpu.emu_start(begin, 0xFFFFFFFE, timeout=10_000_000)
            except self.unicorn.UcError as error:
                raise HaltedError(f"core {self.p}: {error} at {cpu.reg_read(arm.UC_ARM_REG_PC):#x}\n{self.log()}") from None
            if self.wait_at >= 0:
                cpu.reg_write(arm.UC_ARM_REG_PC, self.wait_at + 4)
                self._check()
                return
            if not self._interrupt():
                raise HaltedError(f"core {self.p} runs for ever at {cpu.reg_read(arm.UC_ARM_REG_PC):#x}\n{self.log()}")

    def _check(self) -> None:
        state = self.cpu.mem_read(self.vcpu + 46, 1)[0]
        if state in ERROR_STATES:
            code = self.cpu.mem_read(self.vcpu + 44, 1)[0]
            raise HaltedError(f"core {self.p}: run time error {code}\n{self.log()}")

    def log(self) -> str:
        """What the core wrote to its log so far (the numbers of messages, as the binaries hold no texts)."""
        out, address = bytearray(), struct.unpack("<I", bytes(self.cpu.mem_read(self.vcpu + 88, 4)))[0]
        while address:
            following, _time, _ms, length = struct.unpack("<4I", bytes(self.cpu.mem_read(address, 16)))
            out += bytes(self.cpu.mem_read(address + 16, min(length, 1 << 16)))
            address = following
        return repr(bytes(out))

    def command_run(self, steps: int) -> None:
        """Send the message by which the host starts a run of `steps` ticks."""
        message = self.messages[-1]
        self.cpu.mem_write(self.messages[-2], struct.pack("<I", 0))
        port = struct.unpack_from("<3I", self.regions[0][1])[2]
        body = struct.pack(
            "<I2H4B2H2H3I", 0, 28, 0, 0x07, 0xFF, port << 5 | self.p, 0xFF, self.x << 8 | self.y, 0, CMD_RUNTIME, 0, steps, 0, 0
        )
        self.cpu.mem_write(message, body + struct.pack("<I", 0))
        self.cpu.mem_write(self.vcpu + 48, struct.pack("<I", message))
        self.cpu.mem_write(self.vcpu + 56, b"\x01")
        for _ in range(2):  # the message, then the signal at which the waiting cores start
            self.raw |= 1 << CPU_INT
            self._wake()

    def _wake(self) -> None:
        if not self._pending():
            return
        self._interrupt()
        self._run_to_wait()

    def tick(self) -> None:
        """One timer interrupt; what the core sends goes to `sent`."""
        if self.ticking:
            self.timer_count = self.timer_load
            self.raw |= 1 << TIMER_INT
            self._wake()

    def receive(self, keys: list[int]) -> None:
        """Packets of these keys arrive."""
        for key in keys:
            self.packets.append(key)
            self.raw |= 1 << PACKET_INT
            self._wake()

    def counts(self) -> dict[str, int]:
        """The core's own counts at the end of a run; HaltedError where a packet was lost or late: the recording is then worth nothing."""
        base = self.pointers[PROVENANCE]
        counts = dict(zip(COUNTS, struct.unpack(f"<{len(COUNTS)}I", bytes(self.cpu.mem_read(base, 4 * len(COUNTS)))), strict=True))
        lost = {name: counts[name] for name in LOSSES if counts[name]}
        if lost:
            raise HaltedError(f"core {self.p} lost or delayed packets: {lost}")
        return counts

    def recording(self, region: int, channel: int) -> bytes:
        """The bytes of one channel of a finished recording."""
        base = self.pointers[region]
        space, size, data = struct.unpack("<3I", bytes(self.cpu.mem_read(base + 4 + 12 * channel, 12)))
        if size >> 31:
            raise HaltedError(f"core {self.p}: the recording of channel {channel} is cut")
        return bytes(self.cpu.mem_read(data, size)) if space and size else b""


def _zero(*_arguments: Any) -> int:
    return 0


def _ignore(*_arguments: Any) -> None:
    return None


# --- the board: sPyNNaker's mapping and images ---

LINKS = ((1, 0), (1, 1), (0, 1), (-1, 0), (-1, -1), (0, -1))


@dataclass
class Board:
    """The cores of a mapped network and its routing tables."""

    cores: dict[tuple[int, int, int], Core]
    tables: dict[tuple[int, int], list[tuple[int, int, frozenset[int], frozenset[int]]]]
    targets: dict[tuple[int, int, int], tuple[tuple[int, int, int], ...]] = field(default_factory=dict)
    size: tuple[int, int] = (8, 8)

    def route(self, x: int, y: int, key: int) -> tuple[tuple[int, int, int], ...]:
        """Cores that a packet of `key` sent on chip (x, y) reaches: the first matching entry of every chip, straight on without one."""
        if (x, y, key) in self.targets:
            return self.targets[x, y, key]
        found: list[tuple[int, int, int]] = []
        front: list[tuple[int, int, int | None]] = [(x, y, None)]
        while front:
            a, b, came = front.pop()
            for entry_key, mask, processors, links in self.tables.get((a, b), ()):
                if key & mask == entry_key:
                    found.extend((a, b, p) for p in sorted(processors))
                    ways = sorted(links)
                    break
            else:
                if came is None:
                    raise HaltedError(f"no route for the key {key:#x} sent on chip ({a}, {b})")
                ways = [came]
            front.extend(((a + LINKS[way][0]) % self.size[0], (b + LINKS[way][1]) % self.size[1], way) for way in ways)
        self.targets[x, y, key] = tuple(found)
        return self.targets[x, y, key]

    def run(self, steps: int) -> None:
        """All ticks of a run of `steps`, and the one more in which the cores close their recordings."""
        for core in self.cores.values():
            core.command_run(steps)
        for _ in range(steps + 1):
            flying: list[tuple[int, int, int]] = []
            for core in self.cores.values():
                core.tick()
            while True:
                for core in self.cores.values():
                    flying.extend((core.x, core.y, key) for key in core.sent)
                    core.sent = []
                if not flying:
                    break
                arrivals: dict[tuple[int, int, int], list[int]] = {}
                for x, y, key in flying:
                    for target in self.route(x, y, key):
                        arrivals.setdefault(target, []).append(key)
                flying = []
                for target, keys in arrivals.items():
                    self.cores[target].receive(keys)


def corrected_trunc() -> Any:
    """The class of IF_trunc_delta that agrees with its binary: its input type has no parameters (7.4.1's class writes those of delta)."""
    from spynnaker.pyNN.models.defaults import default_initial_values
    from spynnaker.pyNN.models.neuron import AbstractPyNNNeuronModelStandard
    from spynnaker.pyNN.models.neuron.input_types import InputTypeCurrent
    from spynnaker.pyNN.models.neuron.neuron_models import NeuronModelIFTrunc
    from spynnaker.pyNN.models.neuron.synapse_types import SynapseTypeDelta
    from spynnaker.pyNN.models.neuron.threshold_types import ThresholdTypeStatic

    class Corrected(AbstractPyNNNeuronModelStandard):
        @default_initial_values({"v", "isyn_exc", "isyn_inh"})
        def __init__(self, tau_m=1.0, cm=1.0, v_reset=0.0, v_thresh=1.0, tau_refrac=1.0, i_offset=0.0, v=0.0, isyn_exc=0.0, isyn_inh=0.0):
            super().__init__(
                model_name="IF_trunc_delta",
                binary="IF_trunc_delta.aplx",
                neuron_model=NeuronModelIFTrunc(v, tau_m, cm, i_offset, v_reset, tau_refrac),
                input_type=InputTypeCurrent(),
                synapse_type=SynapseTypeDelta(isyn_exc, isyn_inh),
                threshold_type=ThresholdTypeStatic(v_thresh),
            )

    return Corrected


def _mapped(network: Network, folder: Path) -> tuple[Board, list[Any], dict[str, Any]]:
    """Map a network with sPyNNaker in virtual mode (in `folder`, where its reports go) and load every core's image."""
    meta, arrays = network
    os.chdir(folder)
    (folder / "spynnaker.cfg").write_text(CONFIG)
    import pyNN.spiNNaker as sim  # noqa: N813
    from spinn_front_end_common.data import FecDataView

    step = meta["timestep_ms"]
    sim.setup(timestep=step, time_scale_factor=meta.get("time_scale", 1))
    populations = []
    for number, entry in enumerate(meta["populations"]):
        if entry["kind"] == "source":
            times: list[list[float]] = [[] for _ in range(entry["size"])]
            for neuron, at in zip(arrays[f"s{number}.neuron"].tolist(), arrays[f"s{number}.step"].tolist(), strict=True):
                times[neuron].append(at * step)
            populations.append(sim.Population(entry["size"], sim.SpikeSourceArray(spike_times=times), label=entry["label"]))
            continue
        kind = corrected_trunc() if entry["model"] == "IF_trunc_delta" else getattr(sim, entry["model"])
        params = {name: (arrays[f"p{number}.{name}"].tolist() if value == "array" else value) for name, value in entry["params"].items()}
        start = arrays[f"p{number}.v"].tolist() if entry["v"] == "array" else entry["v"]
        more: dict[str, Any] = {"n_synapse_cores": 0}
        if entry.get("bound") is not None:
            more["max_expected_summed_weight"] = entry["bound"]
        if entry.get("neurons_per_core"):
            more["neurons_per_core"] = entry["neurons_per_core"]
        population = sim.Population(
            entry["size"], kind(**params), label=entry["label"], initial_values={"v": start}, additional_parameters=more
        )
        population.record(["spikes", "v", "gsyn_exc", "gsyn_inh"])
        populations.append(population)
    labels = [entry["label"] for entry in meta["populations"]]
    for number, entry in enumerate(meta["projections"]):
        pairs = np.stack([arrays[f"e{number}.{name}"].astype(float) for name in ("pre", "post", "weight", "delay")], axis=1)
        sim.Projection(
            populations[labels.index(entry["pre"])],
            populations[labels.index(entry["post"])],
            sim.FromListConnector(pairs),
            receptor_type=entry["receptor"],
            synapse_type=sim.StaticSynapse(),
        )
    sim.run(meta["steps"] * step)
    board = _load(FecDataView)
    slices = []
    for population in populations:
        cut = []
        for vertex in population._vertex.machine_vertices:
            place = FecDataView.get_placement_of_vertex(vertex)
            atoms = vertex.vertex_slice
            cut.append(((place.x, place.y, place.p), atoms.lo_atom, atoms.n_atoms))
        slices.append(cut)
    facts = {
        "slots": [
            None if entry["kind"] == "source" else int(population._vertex.splitter.max_support_delay())
            for entry, population in zip(meta["populations"], populations, strict=True)
        ],
        "delay_cores": sum(core.binary_name == "delay_extension.aplx" for core in board.cores.values()),
        "shifts": [
            None if entry["kind"] == "source" else [int(s) for s in population._vertex.get_ring_buffer_shifts()]
            for entry, population in zip(meta["populations"], populations, strict=True)
        ],
    }
    return board, slices, facts


def _buffered(buffer: Any) -> bytes:
    """The messages with which the host fills a source's buffer before a run: the keys of every step, then that there are no more."""
    from spinnman.messages.eieio import EIEIOType
    from spinnman.messages.eieio.command_messages import EventStopRequest
    from spinnman.messages.eieio.data_messages import EIEIODataMessage

    buffer.rewind()
    data = b""
    while buffer.is_next_timestamp:
        step = buffer.next_timestamp
        message = EIEIODataMessage.create(EIEIOType.KEY_32_BIT, timestamp=step)
        while buffer.is_next_key(step) and message.size + 4 <= LARGEST_MESSAGE:
            message.add_key(buffer.next_key())
        data += message.bytestring
    return data + EventStopRequest().bytestring


def _load(view: Any) -> Board:
    """Cores and routing tables of what sPyNNaker mapped last."""
    from spinn_front_end_common.abstract_models import AbstractHasAssociatedBinary

    images: dict[tuple[int, int, int], dict[int, tuple[int, bytes]]] = {}
    with sqlite3.connect(view.get_ds_database_path()) as base:
        for x, y, p, number, size, content in base.execute("SELECT x, y, p, region_num, size, content FROM region"):
            images.setdefault((x, y, p), {})[number] = (size, content or b"")
    cores = {}
    for place in view.iterate_placemements():
        vertex, at = place.vertex, (place.x, place.y, place.p)
        if not isinstance(vertex, AbstractHasAssociatedBinary) or at not in images:
            continue
        name = vertex.get_binary_file_name()
        if name == "reverse_iptag_multicast_source.aplx":
            ((number, buffer),) = vertex.send_buffers.items()
            images[at][number] = (images[at][number][0], _buffered(buffer))
        if name in ("data_speed_up_packet_gatherer.aplx", "extra_monitor_support.aplx"):
            continue
        cores[at] = Core(*at, name, Path(view.get_executable_path(name)).read_bytes(), images[at])
    tables = {
        (table.x, table.y): [
            (entry.key, entry.mask, frozenset(entry.processor_ids), frozenset(entry.link_ids)) for entry in table.multicast_routing_entries
        ]
        for table in view.get_uncompressed()
    }
    return Board(cores, tables)


def record(network: Network, folder: Path) -> Network:
    """Run a network on the binaries and return it with its recordings (see the head of the file)."""
    meta, arrays = dict(network[0]), dict(network[1])
    board, slices, facts = _mapped(network, folder)
    steps = meta["steps"]
    board.run(steps)
    meta.update(facts)
    meta["saturations"] = []
    for number, (entry, cut) in enumerate(zip(meta["populations"], slices, strict=True)):
        if entry["kind"] == "source":
            meta["saturations"].append(None)
            continue
        found = {name: np.zeros((steps, entry["size"]), dtype=np.int32) for name in ("v", "gsyn_exc", "gsyn_inh")}
        spikes = np.zeros((steps, entry["size"]), dtype=np.uint8)
        saturated = 0
        for at, low, count in cut:
            core = board.cores[at]
            saturated += core.counts()["n_saturations"]
            for channel, name in enumerate(("v", "gsyn_exc", "gsyn_inh")):
                rows = np.frombuffer(core.recording(RECORDING, channel), dtype="<i4").reshape(-1, 1 + count)
                if rows[:, 0].tolist() != list(range(steps)):
                    raise HaltedError(f"core {at}: the recording of {name} has the times {rows[:, 0].tolist()}")
                found[name][:, low : low + count] = rows[:, 1:]
            words = -(-count // 32)
            for row in np.frombuffer(core.recording(RECORDING, 3), dtype="<u4").reshape(-1, 1 + words):
                bits = np.unpackbits(row[1:].view(np.uint8), bitorder="little")[:count]
                spikes[row[0], low : low + count] = bits
        for name, values in found.items():
            arrays[f"r{number}.{name}"] = values
        arrays[f"r{number}.spikes"] = spikes
        meta["saturations"].append(saturated)
    _end()
    return meta, arrays


def _end() -> None:
    import pyNN.spiNNaker as sim  # noqa: N813

    sim.end()


def save(path: Path, network: Network) -> None:
    """Write a network, with or without recordings."""
    meta, arrays = network
    np.savez_compressed(path, meta=np.array(json.dumps(meta, sort_keys=True)), **arrays)


def load(path: Path) -> Network:
    """Read what `save` wrote."""
    with np.load(path) as file:
        return json.loads(str(file["meta"])), {name: file[name] for name in file.files if name != "meta"}


# --- networks ---

Range = tuple[float, float] | float


@dataclass(frozen=True)
class Recipe:
    """What a random network is drawn from. Numbers in ms, mV, nA, nF; a pair of numbers is a range that every neuron draws its own from."""

    seed: int
    model: str
    timestep: float
    sizes: tuple[int, ...]
    params: dict[str, Range]
    start: Range = 0.0
    steps: int = 80
    inputs: int = 20
    rate: float = 0.15
    density: float = 0.3
    weights: tuple[float, float] = (2.0, 1.5)
    delays: tuple[float, float] = (1, 12)
    bound: tuple[float, float] | None = None
    neurons_per_core: int = 64
    parallel: int = 1
    recurrent: bool = True
    time_scale: int = 1

    def build(self) -> Network:
        """Draw the network."""
        draw = np.random.default_rng(self.seed)
        arrays: dict[str, np.ndarray] = {}
        populations: list[dict[str, Any]] = [{"label": "in", "size": self.inputs, "kind": "source"}]
        neuron, at = np.nonzero(draw.random((self.inputs, self.steps)) < self.rate)
        arrays["s0.neuron"], arrays["s0.step"] = neuron.astype(np.int32), at.astype(np.int32)

        def values(number: int, name: str, given: Range, size: int) -> float | str:
            if not isinstance(given, tuple):
                return given
            arrays[f"p{number}.{name}"] = draw.uniform(*given, size)
            return "array"

        for number, size in enumerate(self.sizes, start=1):
            populations.append(
                {
                    "label": f"p{number}",
                    "size": size,
                    "kind": "cells",
                    "model": self.model,
                    "params": {name: values(number, name, given, size) for name, given in self.params.items()},
                    "v": values(number, "v", self.start, size),
                    "bound": None if self.bound is None else list(self.bound),
                    "neurons_per_core": self.neurons_per_core,
                }
            )
        projections: list[dict[str, str]] = []
        for post in range(1, len(populations)):
            for pre in range(len(populations) if self.recurrent else 1):
                for receptor, weight in zip(("excitatory", "inhibitory"), self.weights, strict=True):
                    for copy in range(self.parallel):
                        first, second = np.nonzero(draw.random((populations[pre]["size"], populations[post]["size"])) < self.density)
                        number = len(projections)
                        label = f"{populations[pre]['label']}-{populations[post]['label']}-{receptor}-{copy}"
                        projections.append(
                            {"label": label, "pre": populations[pre]["label"], "post": populations[post]["label"], "receptor": receptor}
                        )
                        arrays[f"e{number}.pre"], arrays[f"e{number}.post"] = first.astype(np.int32), second.astype(np.int32)
                        arrays[f"e{number}.weight"] = draw.uniform(0, weight, len(first))
                        low, high = self.delays
                        if isinstance(low, int):
                            delay: np.ndarray = draw.integers(int(low), int(high) + 1, len(first)).astype(float)
                        else:
                            delay = draw.uniform(low, high, len(first))  # between the steps: the host rounds
                        arrays[f"e{number}.delay"] = delay * self.timestep
        meta = {
            "timestep_ms": self.timestep,
            "steps": self.steps,
            "time_scale": self.time_scale,
            "populations": populations,
            "projections": projections,
        }
        return meta, arrays


def _leaky(step: float, **more: Range) -> dict[str, Range]:
    return {
        "tau_m": (4 * step, 30 * step),
        "cm": (0.2, 2.0),
        "v_rest": (-1.0, 1.0),
        "v_reset": (-1.0, 0.0),
        "v_thresh": (1.0, 6.0),
        "i_offset": (-0.1, 0.1),
        "tau_refrac": (0.0, 3.4 * step),
        **more,
    }


def _exp(step: float, **more: Range) -> dict[str, Range]:
    return _leaky(step, tau_syn_E=(step, 8 * step), tau_syn_I=(step, 8 * step), **more)


def _trunc(step: float, **more: Range) -> dict[str, Range]:
    return {
        "tau_m": (0.5, 2.0),
        "cm": (0.5, 2.0),
        "v_reset": (-0.5, 0.0),
        "v_thresh": (2.0, 9.0),
        "i_offset": (-0.05, 0.1),
        "tau_refrac": (0.0, 3.4 * step),
        **more,
    }


# Parameters at the ends of what the host takes: time constants far from a step, resistances beyond the format, resets above thresholds.
_EXTREME: dict[str, Range] = {
    "tau_m": (0.001, 60000.0),
    "cm": (0.001, 30.0),
    "v_rest": (-60000.0, 60000.0),
    "v_reset": (-60000.0, 60000.0),
    "v_thresh": (-60000.0, 60000.0),
    "i_offset": (-60000.0, 60000.0),
    "tau_refrac": (0.0, 20.0),
}

RECIPES: dict[str, Recipe] = {
    "exp_01ms": Recipe(1, "IF_curr_exp", 0.1, (40,), _exp(0.1), delays=(1, 60), steps=100, time_scale=10),
    "exp_05ms": Recipe(2, "IF_curr_exp", 0.5, (20, 22), _exp(0.5), (-1.0, 1.0), time_scale=2),
    "exp_1ms": Recipe(3, "IF_curr_exp", 1.0, (30, 17), _exp(1.0), (-3.0, 3.0)),
    "exp_2ms": Recipe(4, "IF_curr_exp", 2.0, (36,), _exp(2.0), delays=(0.6, 9.4)),
    "exp_slices": Recipe(5, "IF_curr_exp", 1.0, (75,), _exp(1.0), steps=40, neurons_per_core=32, density=0.15, parallel=2),
    "exp_saturation": Recipe(
        6, "IF_curr_exp", 1.0, (36,), _exp(1.0), inputs=60, rate=0.4, density=0.6, bound=(2.0, 1.0), weights=(3.0, 1.9)
    ),
    "exp_mask": Recipe(7, "IF_curr_exp", 1.0, (30,), _exp(1.0), bound=(0.4, 0.3), weights=(5.0, 2.6), steps=60),
    "exp_extreme": Recipe(
        8,
        "IF_curr_exp",
        1.0,
        (50,),
        {**_EXTREME, "tau_syn_E": (0.001, 3000.0), "tau_syn_I": (0.001, 3.0)},
        (-60000.0, 60000.0),
        weights=(9000.0, 12000.0),
        steps=50,
    ),
    "exp_slots": Recipe(9, "IF_curr_exp", 1.0, (40,), _exp(1.0), delays=(28, 32), neurons_per_core=256, steps=80),
    "exp_extension": Recipe(
        10,
        "IF_curr_exp",
        1.0,
        (130,),
        _exp(1.0),
        delays=(1, 90),
        neurons_per_core=130,
        steps=105,
        inputs=130,
        rate=0.03,
        density=0.01,
        weights=(6.0, 2.0),
    ),
    "exp_bound": Recipe(11, "IF_curr_exp", 1.0, (36,), _exp(1.0, tau_refrac=0.0), bound=(60.0, 700.0), weights=(2.0, 1.5)),
    "delta_01ms": Recipe(12, "IF_curr_delta", 0.1, (40,), _leaky(0.1), delays=(1, 100), steps=120, weights=(0.6, 0.4), time_scale=10),
    "delta_05ms": Recipe(13, "IF_curr_delta", 0.5, (34,), _leaky(0.5), weights=(4.0, 2.0), delays=(3, 3), time_scale=2),
    "delta_1ms": Recipe(14, "IF_curr_delta", 1.0, (25, 30), _leaky(1.0), (-2.0, 2.0), weights=(5.0, 3.0)),
    "delta_saturation": Recipe(
        15,
        "IF_curr_delta",
        1.0,
        (40,),
        _leaky(1.0, cm=(3.0, 12.0), i_offset=(0.0, 1.0)),
        inputs=100,
        rate=0.3,
        density=0.5,
        bound=(4.0, 1.5),
        weights=(3.0, 0.12),
        delays=(1, 5),
    ),
    "delta_extreme": Recipe(16, "IF_curr_delta", 2.0, (60,), _EXTREME, (-60000.0, 60000.0), weights=(20000.0, 30000.0), steps=50),
    "delta_extension": Recipe(
        17,
        "IF_curr_delta",
        0.5,
        (130,),
        _leaky(0.5),
        delays=(30, 66),
        neurons_per_core=130,
        inputs=130,
        rate=0.03,
        steps=90,
        density=0.01,
        weights=(12.0, 5.0),
        time_scale=2,
    ),
    "trunc_01ms": Recipe(
        18, "IF_trunc_delta", 0.1, (40,), _trunc(0.1), (0.0, 2.0), weights=(1.0, 0.7), delays=(1, 30), steps=100, time_scale=10
    ),
    "trunc_1ms": Recipe(19, "IF_trunc_delta", 1.0, (30, 25), _trunc(1.0), (0.0, 2.0), weights=(1.0, 0.7)),
    "trunc_extreme": Recipe(
        20,
        "IF_trunc_delta",
        1.0,
        (50,),
        {name: given for name, given in _EXTREME.items() if name != "v_rest"},
        (-60000.0, 60000.0),
        weights=(20000.0, 9000.0),
        steps=50,
    ),
}


def random_recipe(seed: int) -> Recipe:
    """A recipe whose model, time step, shape and ranges are drawn from `seed`."""
    draw = np.random.default_rng([seed, 8])
    model = ("IF_curr_exp", "IF_curr_delta", "IF_trunc_delta")[seed % 3]
    step = float(draw.choice([0.1, 0.5, 1.0, 2.0]))
    params = {"IF_curr_exp": _exp, "IF_curr_delta": _leaky, "IF_trunc_delta": _trunc}[model](step)
    neurons_per_core = int(draw.choice([32, 64, 128]))
    return Recipe(
        seed,
        model,
        step,
        tuple(int(size) for size in draw.integers(8, 50, int(draw.integers(1, 4)))),
        params,
        (-1.0, 2.0),
        steps=60,
        inputs=int(draw.integers(5, 40)),
        rate=float(draw.uniform(0.05, 0.4)),
        density=float(draw.uniform(0.05, 0.6)),
        weights=(float(draw.uniform(0.5, 5.0)), float(draw.uniform(0.5, 3.0))),
        delays=(1, int(draw.integers(1, 16384 // (2 * neurons_per_core) + 1))),
        bound=None if draw.random() < 0.5 else (float(draw.uniform(0.5, 60.0)), float(draw.uniform(0.5, 60.0))),
        neurons_per_core=neurons_per_core,
        parallel=int(draw.integers(1, 3)),
        time_scale={0.1: 10, 0.5: 2}.get(step, 1),
    )


def main() -> None:
    """Run the tool; see the head of the file."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("action", choices=["make", "recipe", "random", "run"])
    parser.add_argument("arguments", nargs="+")
    options = parser.parse_args()
    if options.action == "make":
        folder, *names = options.arguments
        for name in names or RECIPES:
            # sPyNNaker keeps the state of a simulator: one process for each network.
            subprocess.run([sys.executable, __file__, "recipe", name, str(Path(folder).resolve() / f"{name}.npz")], check=True)
        return
    given, sink = options.arguments[0], Path(options.arguments[1]).resolve()
    network = (
        load(Path(given))
        if options.action == "run"
        else (RECIPES[given] if options.action == "recipe" else random_recipe(int(given))).build()
    )
    with tempfile.TemporaryDirectory() as folder:
        save(sink, record(network, Path(folder)))
        os.chdir(sink.parent)


if __name__ == "__main__":
    main()
