"""Intel's devices, as the agent reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.services.graphics import Graphics, write

from traindeck.backends.devices import readings
from traindeck.backends.payload.agent.devices import fdinfo, intel, owners

MINUTE = 60.0


@pytest.fixture
def machine(tmp_path: Path) -> Graphics:
    return Graphics(tmp_path)


def opened(machine: Graphics) -> intel.Intel:
    """A provider that has begun."""
    clients = fdinfo.Clients(str(machine.proc), namespace=owners.INITIAL)
    provider = intel.Intel(str(machine.sysfs), str(machine.proc), clients, (str(machine.ids),))
    provider.open()
    return provider


def read(provider: intel.Intel, now: float = MINUTE) -> list[dict[str, Any]]:
    """All that it says, after a look at each of its cards."""
    provider.check(now)
    for card in provider.cards:
        provider.refresh(card, now)
        card.publish()
    return [card.shown for card in provider.cards]


def xe(ident: int, ccs: int, of: int, **more: object) -> dict[str, object]:
    """What xe accounts to a client: cycles of the engines that compute, of which there are 4."""
    return {
        "drm-driver": "xe",
        "drm-client-id": ident,
        "drm-pdev": "0000:03:00.0",
        "drm-total-system": "0",
        "drm-resident-gtt": "192 KiB",
        "drm-total-vram0": "4 GiB",
        "drm-resident-vram0": "2097152 KiB",
        "drm-cycles-rcs": 0,
        "drm-total-cycles-rcs": of,
        "drm-cycles-ccs": ccs,
        "drm-total-cycles-ccs": of,
        "drm-engine-capacity-ccs": 4,
        **more,
    }


def i915(ident: int, render: int, pci: str = "0000:03:00.0", **more: object) -> dict[str, object]:
    """What i915 accounts to a client."""
    return {
        "drm-driver": "i915",
        "drm-client-id": ident,
        "drm-pdev": pci,
        "drm-total-system0": "1024 KiB",
        "drm-resident-system0": "512 KiB",
        "drm-total-local0": "8192 KiB",
        "drm-engine-render": f"{render} ns",
        "drm-engine-copy": "0 ns",
        "drm-engine-video": "0 ns",
        "drm-engine-capacity-video": 2,
        **{key.replace("_", "-"): value for key, value in more.items()},
    }


def test_an_arc_with_xe(machine: Graphics) -> None:
    folder = machine.arc_xe(1, "0000:03:00.0")
    machine.opens(70, 1, xe(3, 1000, 100_000))
    machine.opens(71, 1, xe(4, 0, 100_000, **{"drm-resident-vram0": "0"}))
    provider = opened(machine)
    (said,) = read(provider)
    assert (said["uuid"], said["pci"], said["vendor"]) == ("0000:03:00.0", "0000:03:00.0", "intel")
    assert said["name"] == "Intel Arc A770"
    assert (said["sm_clock_mhz"], said["sm_clock_max_mhz"]) == (2350, 2400)
    assert (said["temperature_c"], said["memory_temperature_c"]) == (58.0, 62.0)
    assert (said["power_limit_w"], said["energy_j"]) == (190.0, 1000.0)
    assert said["power_w"] is None and said["utilization_pct"] is None
    assert said["missing"]["power_w"] == "known from the second reading on"
    assert said["missing"]["utilization_pct"] == "known from the second reading on"
    assert (said["memory_kind"], said["memory_total_bytes"]) == ("device", None)
    assert said["fan_pct"] is None and said["throttle_reasons"] == []
    machine.opens(70, 1, xe(3, 141_000, 200_000))
    machine.opens(71, 1, xe(4, 20_000, 200_000))
    write(folder, {"hwmon/hwmon2/energy2_input": 1300000000})
    (said,) = read(provider, MINUTE + 2)
    assert said["power_w"] == 150.0
    assert said["utilization_pct"] == 40.0
    shares = {p["pid"]: (p["utilization_pct"], p["kind"]) for p in said["processes"]}
    assert shares == {70: (35.0, "compute"), 71: (5.0, "compute")}
    assert {p["memory_bytes"] for p in said["processes"]} == {2 << 30}
    assert "utilization_pct" not in said["missing"] and "power_w" not in said["missing"]
    device = readings.device(json.loads(json.dumps(said)))
    assert (device.power_w, device.utilization_pct, len(device.processes)) == (150.0, 40.0, 2)


def test_an_arc_with_i915(machine: Graphics) -> None:
    folder = machine.arc_i915(1, "0000:03:00.0")
    machine.opens(70, 1, i915(3, 1_000_000_000))
    provider = opened(machine)
    (said,) = read(provider)
    assert (said["sm_clock_mhz"], said["sm_clock_max_mhz"]) == (2300, 2400)
    assert (said["temperature_c"], said["memory_temperature_c"]) == (51.0, None)
    # That of the card, and not of one of its parts.
    assert (said["energy_j"], said["power_limit_w"]) == (2000.0, 190.0)
    machine.opens(70, 1, i915(3, 2_500_000_000))
    write(folder / "drm/card1", {"gt_act_freq_mhz": 0})
    (said,) = read(provider, MINUTE + 2)
    assert said["sm_clock_mhz"] == 2400
    assert said["utilization_pct"] == 75.0
    # A counter that stands still counts nothing.
    assert said["power_w"] is None and said["missing"]["power_w"] == "the driver does not say"
    (process,) = said["processes"]
    assert (process["kind"], process["memory_bytes"]) == ("graphics", 8 << 20)


def test_graphics_of_a_processor_live_on_the_hosts_memory(machine: Graphics) -> None:
    machine.card(
        0,
        "0000:00:02.0",
        "i915",
        {"device": "0x46a6", "card/gt_cur_freq_mhz": 450, "card/gt_act_freq_mhz": 0},
    )
    machine.opens(70, 0, i915(3, 5, "0000:00:02.0"))
    provider = opened(machine)
    (said,) = read(provider)
    assert said["name"] == "Intel 0x46a6"
    assert said["memory_kind"] == "shared"
    assert said["memory_total_bytes"] == 64 << 20
    assert said["memory_used_bytes"] == 48 << 20
    assert said["sm_clock_mhz"] == 450
    assert said["energy_j"] is None and said["missing"]["power_w"] == "not supported"
    assert said["throttle_reasons"] is None
    assert said["processes"][0]["memory_bytes"] == (8 << 20) + (512 << 10)


def test_what_slows_it_is_said_in_our_words(machine: Graphics) -> None:
    said = {"status": 1, "reason_pl1": 1, "reason_pl2": 1, "reason_thermal": 1, "reason_ratl": 0}
    throttle = {f"tile0/gt0/freq0/throttle/{name}": value for name, value in said.items()}
    machine.arc_xe(1, "0000:03:00.0", **throttle)
    said = {"status": 1, "pl1": 0, "prochot": 1}
    throttle = {f"card/gt/gt0/throttle_reason_{name}": value for name, value in said.items()}
    machine.arc_i915(2, "0000:04:00.0", **throttle)
    found = read(opened(machine))
    assert found[0]["throttle_reasons"] == ["hw_thermal", "power_cap"]
    assert found[1]["throttle_reasons"] == ["hw_slowdown"]


def test_a_limit_that_is_off_is_no_limit_of_zero(machine: Graphics) -> None:
    machine.arc_i915(1, "0000:03:00.0", **{"hwmon/hwmon2/power1_max": 0})
    (said,) = read(opened(machine))
    assert said["power_limit_w"] is None
    assert said["missing"]["power_limit_w"] == "no limit is set"


def slept(folder: Path, milliseconds: int) -> None:
    write(folder, {"tile0/gt0/gtidle/idle_residency_ms": milliseconds})


def test_where_others_are_hidden_it_is_only_said_how_busy_it_is_if_that_is_known(
    machine: Graphics,
) -> None:
    folder = machine.arc_xe(1, "0000:03:00.0")
    provider = opened(machine)
    provider.clients = fdinfo.Clients(str(machine.proc), namespace=owners.INITIAL + 1)
    machine.opens(70, 1, xe(3, 0, 100_000))
    slept(folder, 5000)
    assert read(provider)[0]["utilization_pct"] is None
    # It slept half of the time, and we used none of it: somebody may have.
    machine.opens(70, 1, xe(3, 0, 200_000))
    slept(folder, 5500)
    (said,) = read(provider, MINUTE + 1)
    assert said["utilization_pct"] is None
    assert said["missing"]["utilization_pct"] == "processes of others cannot be seen"
    # It slept nearly all the time: nobody did, or hardly.
    machine.opens(70, 1, xe(3, 0, 300_000))
    slept(folder, 6490)
    assert read(provider, MINUTE + 2)[0]["utilization_pct"] == 1.0
    # It never slept, and nearly all of that was ours.
    machine.opens(70, 1, xe(3, 396_000, 400_000))
    (said,) = read(provider, MINUTE + 3)
    assert said["utilization_pct"] == 100.0
    assert said["missing"]["processes"] == "processes of others cannot be seen"


def test_a_card_that_nobody_has_open_is_idle(machine: Graphics) -> None:
    machine.arc_xe(1, "0000:03:00.0")
    provider = opened(machine)
    assert read(provider)[0]["utilization_pct"] is None
    (said,) = read(provider, MINUTE + 1)
    assert said["utilization_pct"] == 0.0 and said["processes"] == []


def test_a_kernel_that_accounts_nothing_is_not_taken_for_an_idle_card(machine: Graphics) -> None:
    machine.arc_i915(1, "0000:03:00.0")
    machine.opens(70, 1, None)
    provider = opened(machine)
    read(provider)
    (said,) = read(provider, MINUTE + 1)
    assert said["utilization_pct"] is None
    assert said["missing"]["utilization_pct"] == "this driver does not tell"
    (process,) = said["processes"]
    assert (process["pid"], process["memory_bytes"]) == (70, None)
    assert process["utilization_pct"] is None


def test_counters_that_begin_anew_say_nothing(machine: Graphics) -> None:
    folder = machine.arc_xe(1, "0000:03:00.0")
    machine.opens(70, 1, xe(3, 1000, 100_000))
    provider = opened(machine)
    read(provider)
    machine.opens(70, 1, xe(3, 5, 1000))
    write(folder, {"hwmon/hwmon2/energy2_input": 17})
    (said,) = read(provider, MINUTE + 1)
    assert said["power_w"] is None
    assert said["processes"][0]["utilization_pct"] is None
    # The same, in a fraction of no time.
    (said,) = read(provider, MINUTE + 1)
    assert said["power_w"] is None and said["processes"][0]["utilization_pct"] is None


ODD = ("", "N/A", "-5", "1e3", "99999999999999999999999", "18446744073709551615", "٣", "1_0", "\0")


@pytest.mark.parametrize("odd", ODD)
def test_what_is_odd_is_not_said(machine: Graphics, odd: str) -> None:
    for number, pci, make in ((1, "0000:03:00.0", machine.arc_xe), (2, "0000:04:00.0", None)):
        folder = make(number, pci) if make else machine.arc_i915(number, pci)
        for path in folder.rglob("*"):
            if path.is_file() and path.name not in ("vendor", "name") and "_label" not in path.name:
                path.write_text(odd + "\n")
    said = xe(3, 5, 1000)
    kept = ("drm-driver", "drm-pdev")
    machine.opens(70, 1, {key: said[key] if key in kept else odd for key in said})
    machine.opens(71, 2, dict.fromkeys(i915(3, 5), odd))
    provider = opened(machine)
    read(provider)
    for reading in read(provider, MINUTE + 1):
        assert reading["state"] == "ok"
        for field in (
            *("sm_clock_mhz", "sm_clock_max_mhz", "temperature_c", "power_w", "power_limit_w"),
            *("energy_j", "throttle_reasons", "utilization_pct"),
        ):
            if field == "utilization_pct" and not reading["processes"]:
                continue
            assert reading[field] is None, field
            assert reading["missing"][field], field
        assert all(process["memory_bytes"] is None for process in reading["processes"])
        json.dumps(reading)


def test_a_card_that_sleeps_is_asked_for_nothing_and_one_that_vanishes_is_lost(
    machine: Graphics,
) -> None:
    folder = machine.arc_xe(1, "0000:03:00.0")
    write(folder, {"power/runtime_status": "suspended"})
    provider = opened(machine)
    (said,) = read(provider)
    assert (said["state"], said["name"]) == ("asleep", "Intel Arc A770")
    assert "energy_j" not in said
    write(folder, {"power/runtime_status": "active"})
    assert read(provider, MINUTE + 1)[0]["state"] == "ok"
    machine.unplug(folder, 1)
    (said,) = read(provider, MINUTE + 2)
    assert (said["state"], said["processes"]) == ("lost", [])
    assert "sm_clock_mhz" not in said
