"""Where own endpoints may be: what settings allow, what nothing allows, and the very address that a connection goes to."""

from collections.abc import Sequence

import pytest

from junctor.adapters.net.addresses import AddressRefusedError, HostRule, Place, Vetting

LOOPBACK = (HostRule("127.0.0.0/8", None), HostRule("::1", None))


class Names:
    """A name server: what each name leads to now, and how often it was asked."""

    def __init__(self, **found: Sequence[str]) -> None:
        self.found = {name.replace("_", "."): addresses for name, addresses in found.items()}
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Answer, or fail as the system does."""
        self.asked += 1
        if host not in self.found:
            raise OSError(port)
        return self.found[host]


async def judged(url: str, names: Names | None = None, *rules: HostRule, resolved: bool = True) -> str | None:
    """Say what is wrong with an address."""
    return await Vetting(rules, names or Names()).problem(url, resolved=resolved)


@pytest.mark.parametrize(
    "url", ["https://gpu.example/v1", "https://gpu.example:8443", "https://8.8.8.8/v1", "https://[2606:4700::1111]/v1"]
)
async def test_https_at_a_public_host_needs_no_permission(url: str) -> None:
    """An operator could not add a server that the whole world may reach."""
    assert await judged(url, Names(gpu_example=["93.184.216.34"])) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://gpu.example/v1",
        "http://8.8.8.8/v1",
        "https://10.1.2.3/v1",
        "https://inner.example/v1",
        "https://both.example/v1",
        "http://127.0.0.1:11434/v1",
        "https://[fd00::1]/v1",
        "https://100.64.0.1",
        "https://[::1]",
    ],
)
async def test_anything_else_needs_it(url: str) -> None:
    """A key of the operator's could reach into the network, or prompts go over the wire for all to read."""
    names = Names(gpu_example=["93.184.216.34"], inner_example=["10.0.0.1"], both_example=["93.184.216.34", "10.0.0.1"])
    assert "JUNCTOR_PRIVATE_HOSTS" in (await judged(url, names) or "")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://10.1.2.3:8000/v1", HostRule("10.1.0.0/16", 8000)),
        ("http://gpu.internal:8000/v1", HostRule("10.1.0.0/16", 8000)),
        ("http://gpu.internal:8000/v1", HostRule("gpu.internal", 8000)),
        ("https://gpu.internal/v1", HostRule("GPU.internal", None)),
        ("http://8.8.8.8", HostRule("8.8.8.8", 80)),
        ("https://[fd00::1]:9/v1", HostRule("fd00::/8", 9)),
        ("http://127.0.0.1:11434/v1", LOOPBACK[0]),
        ("http://localhost:11434/v1", LOOPBACK[0]),
        ("http://localhost:11434/v1", HostRule("localhost", 11434)),
        ("http://[::1]:1234", LOOPBACK[1]),
    ],
)
async def test_what_the_settings_list_is_allowed(url: str, rule: HostRule) -> None:
    """An operator could not use the servers of his own network."""
    assert await judged(url, Names(gpu_internal=["10.1.9.9"], localhost=["127.0.0.1"]), rule) is None


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://10.1.2.3:8001/v1", HostRule("10.1.0.0/16", 8000)),
        ("http://10.2.2.3:8000/v1", HostRule("10.1.0.0/16", 8000)),
        ("http://other.internal:8000/v1", HostRule("gpu.internal", 8000)),
        ("http://gpu.internal:8001/v1", HostRule("gpu.internal", 8000)),
        ("http://turned.internal:8000/v1", HostRule("turned.internal", 8000)),
        ("http://gpu.internal.evil.example:8000/v1", HostRule("gpu.internal", 8000)),
    ],
)
async def test_a_rule_allows_its_own_host_and_port_only(url: str, rule: HostRule) -> None:
    """One permission would open the network; a listed name that turns to loopback would open this machine."""
    names = Names(
        gpu_internal=["10.1.9.9"],
        other_internal=["10.1.9.9"],
        turned_internal=["127.0.0.1"],
        gpu_internal_evil_example=["10.1.9.9"],
    )
    assert await judged(url, names, rule) is not None


async def test_metadata_is_never_allowed() -> None:
    """A listed network, or a name under the operator's control, would hand out the machine's own credentials."""
    everything = [HostRule("0.0.0.0/0", None), HostRule("::/0", None), HostRule("meta.example", None)]
    for address in (
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        ".".join("0000"),
        "255.255.255.255",
    ):
        assert "ever" in (await judged(f"http://{address}", None, *everything) or ""), address
        assert "ever" in (
            await judged("http://meta.example", Names(meta_example=["93.184.216.34", address]), *everything) or ""
        )
    for address in (
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "::",
    ):
        assert "ever" in (await judged(f"http://[{address}]", None, *everything) or ""), address
        assert "ever" in (await judged("http://meta.example", Names(meta_example=[address]), *everything) or "")
    assert "ever" in (await judged("http://metadata.google.internal", None, *everything) or "")
    assert await judged("http://10.0.0.1", None, *everything) is None


async def test_a_name_that_leads_nowhere_is_refused_for_new_records_and_borne_for_old_ones() -> None:
    """A slip of typing would be found by callers only, or a name server's bad minute would take endpoints away."""
    assert "nowhere" in (await judged("https://gone.example") or "")
    assert await judged("https://gone.example", resolved=False) is None
    assert await judged("https://8.8.8.8:99999", resolved=False) is not None


async def test_a_connection_goes_to_the_address_that_was_judged() -> None:
    """A name that changes between being judged and being used would lead anywhere."""
    names = Names(gpu_internal=["fd00::5", "10.1.0.5"])
    vetting = Vetting([HostRule("10.1.0.0/16", None), HostRule("fd00::/8", None)], names)
    url = "http://gpu.internal:8000/v1/chat/completions"
    assert (await vetting.place(url), vetting.watching, names.asked) == (None, False, 0)
    vetting.watch("http://gpu.internal:8000/v1")
    assert await vetting.place(url) == Place("10.1.0.5", "gpu.internal")
    names.found["gpu.internal"] = ["169.254.169.254"]
    assert await vetting.place(url) == Place("10.1.0.5", "gpu.internal")
    assert names.asked == 1
    assert await vetting.place("http://gpu.internal:9000/v1") is None


async def test_a_name_that_turned_is_refused_at_its_next_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that was sound when it was made could later lead to the metadata of the machine."""
    monkeypatch.setattr("junctor.adapters.net.addresses._KEPT_S", 0.0)
    names = Names(gpu_example=["93.184.216.34"])
    vetting = Vetting([], names)
    vetting.watch("https://gpu.example/v1")
    assert await vetting.place("https://gpu.example/v1/chat/completions") == Place("93.184.216.34", "gpu.example")
    names.found["gpu.example"] = ["169.254.169.254"]
    with pytest.raises(AddressRefusedError):
        await vetting.place("https://gpu.example/v1/chat/completions")
    del names.found["gpu.example"]
    with pytest.raises(AddressRefusedError):
        await vetting.place("https://gpu.example/v1/chat/completions")


@pytest.mark.parametrize("host", ["10.1.0.1/16", "fd00::1/8", "1.2.3/24"])
def test_a_rule_that_is_no_network_is_told(host: str) -> None:
    """A slip in a rule would be taken for a name, and allow nothing or something else."""
    with pytest.raises(ValueError, match=r"."):
        Vetting([HostRule(host, None)])
