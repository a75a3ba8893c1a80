"""Tests of the environment's way into Settings."""

import base64
from pathlib import Path

import pytest

from junctor.settings import Address, Command, Settings, SettingsError, Store, data_dir, list_settings

PEPPER = base64.b64encode(b"p" * 32).decode()
OLD_PEPPER = base64.b64encode(b"o" * 40).decode()


def problems(environ: dict[str, str], command: Command = Command.UP) -> tuple[str, ...]:
    """Return what is wrong with an environment."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environ, command)
    return caught.value.problems


def test_an_empty_environment_is_sound() -> None:
    """If this fails, `junctor up` needs settings before it starts, or starts with other limits than those promised."""
    settings = Settings.from_environment({"HOME": "/home/somebody", "JUNCTOR_TABLE_PREFIX": " "})
    assert settings.listen == Address("127.0.0.1", 50051)
    assert (settings.store, settings.dynamodb_endpoint, settings.table_prefix) == (Store.SQLITE, None, "junctor-")
    assert (settings.message_in_max_bytes, settings.message_out_max_bytes) == (20 * 1024 * 1024, 64 * 1024 * 1024)
    assert (settings.string_max_bytes, settings.json_depth_max, settings.tools_max) == (16 * 1024 * 1024, 64, 512)
    assert (settings.messages_max, settings.parts_max) == (4096, 4096)
    assert (settings.deadline_default_s, settings.deadline_max_s) == (600, 900)
    assert (settings.drain_s, settings.heartbeat_s, settings.key_cache_s) == (110, 15, 60)
    assert (settings.reflection, settings.local_model, settings.peppers) == (False, True, ())
    assert settings.region == "us-east-1"
    assert settings.log == settings.data_dir / "log.jsonl"
    assert settings.data_dir.is_absolute()
    assert settings.data_dir != settings.cache_dir


def test_every_setting_is_read() -> None:
    """If this fails, a documented variable does nothing, or a variable that does something is not documented."""
    environ = {
        "JUNCTOR_LISTEN": "[::1]:0",
        "JUNCTOR_ADMIN_LISTEN": "[::1]:7",
        "JUNCTOR_TLS_CERT": "/srv/tls/cert.pem",
        "JUNCTOR_TLS_KEY": "/srv/tls/key.pem",
        "JUNCTOR_TLS_CLIENT_CA": "/srv/tls/services.pem",
        "JUNCTOR_ADMIN_TLS_CLIENT_CA": "/srv/tls/managers.pem",
        "JUNCTOR_PLAIN_TEXT": "on",
        "JUNCTOR_PROCESSES": "4",
        "JUNCTOR_CREDIT_FEE_PPM": "0",
        "JUNCTOR_OUTPUT_HOLD_TOKENS": "4096",
        "JUNCTOR_DATA_DIR": "/srv/data",
        "JUNCTOR_CACHE_DIR": "/srv/cache",
        "JUNCTOR_STORE": "DynamoDB",
        "JUNCTOR_DYNAMODB_ENDPOINT": "http://127.0.0.1:8000/",
        "JUNCTOR_REGION": "eu-central-1",
        "JUNCTOR_TABLE_PREFIX": "stage_",
        "JUNCTOR_PEPPER": f"2:{PEPPER}, 1:{OLD_PEPPER}",
        "JUNCTOR_REFLECTION": "yes",
        "JUNCTOR_LOCAL_MODEL": "off",
        "JUNCTOR_DRAIN_S": "5.5",
        "JUNCTOR_HEARTBEAT_S": "1",
        "JUNCTOR_DEADLINE_DEFAULT_S": "30",
        "JUNCTOR_DEADLINE_MAX_S": "60",
        "JUNCTOR_MESSAGE_IN_MAX_BYTES": "2048",
        "JUNCTOR_MESSAGE_OUT_MAX_BYTES": "4 KiB",
        "JUNCTOR_CALLS_MAX": "7",
        "JUNCTOR_REQUESTS_MAX_BYTES": "3 GiB",
        "JUNCTOR_STREAMS_MAX": "8",
        "JUNCTOR_PATIENCE_S": "9",
        "JUNCTOR_MESSAGES_MAX": "1",
        "JUNCTOR_PARTS_MAX": "2",
        "JUNCTOR_TOOLS_MAX": "3",
        "JUNCTOR_JSON_DEPTH_MAX": "4",
        "JUNCTOR_STRING_MAX_BYTES": "1MiB",
        "JUNCTOR_LOG": "-",
        "JUNCTOR_CREDENTIAL_WEIGHTS": "OPENAI_API_KEY=3, OPENAI_API_KEY_2 = 0.5",
        "JUNCTOR_CREDENTIALS_SECRET": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:junctor/credentials-AbCdEf",
        "JUNCTOR_PRIVATE_HOSTS": "10.1.0.0/16:8000, gpu.internal:*,[fd00::/8]:443",
        "JUNCTOR_DISCOVER": "off",
        "JUNCTOR_HTTP": "HTTPX",
        "JUNCTOR_DYNAMODB_SENDER": "Boto3",
        "JUNCTOR_KEY_CACHE_S": "0",
    }
    settings = Settings.from_environment(environ)
    assert {row.variable for row in list_settings()} == environ.keys()
    default = Settings.from_environment({})
    same = [name for name in Settings.__struct_fields__ if getattr(settings, name) == getattr(default, name)]
    assert same == []
    assert (settings.listen, str(settings.listen)) == (Address("::1", 0), "[::1]:0")
    assert [(pepper.version, pepper.key) for pepper in settings.peppers] == [(2, b"p" * 32), (1, b"o" * 40)]
    assert (settings.message_in_max_bytes, settings.message_out_max_bytes) == (2048, 4096)
    assert (settings.calls_max, settings.requests_max_bytes) == (7, 3 << 30)
    assert settings.dynamodb_endpoint == "http://127.0.0.1:8000"
    assert settings.log is None
    assert settings.credential_weights == {"OPENAI_API_KEY": 3.0, "OPENAI_API_KEY_2": 0.5}
    assert settings.credentials_secret == environ["JUNCTOR_CREDENTIALS_SECRET"]


def test_all_mistakes_are_told_at_once() -> None:
    """If this fails, an operator mends one mistake for each failed start."""
    found = problems(
        {
            "JUNCTOR_LISTEN": "::1:50051",
            "JUNCTOR_DRAIN_S": "nan",
            "JUNCTOR_TOOLS_MAX": "many",
            "JUNCTOR_REFLEXION": "on",
            "JUNCTOR_DEADLINE_DEFAULT_S": "300",
            "JUNCTOR_DEADLINE_MAX_S": "100",
            "AWS_REGION": "not a region",
        }
    )
    named = {line.partition(":")[0] for line in found}
    assert named == {
        "JUNCTOR_LISTEN",
        "JUNCTOR_DRAIN_S",
        "JUNCTOR_TOOLS_MAX",
        "JUNCTOR_REFLEXION",
        "JUNCTOR_DEADLINE_DEFAULT_S",
        "AWS_REGION",
    }
    assert len(found) == len(named)
    assert all("\n" not in line for line in found)
    assert next(line for line in found if "REFLEXION" in line).endswith("did you mean JUNCTOR_REFLECTION?")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LISTEN", "127.0.0.1"),
        ("LISTEN", "127.0.0.1:65536"),
        ("LISTEN", ":50051"),
        ("STORE", "postgres"),
        ("DYNAMODB_ENDPOINT", "dynamodb.example"),
        ("DYNAMODB_ENDPOINT", "http://127.0.0.1:8000/tables"),
        ("HTTP", "curl"),
        ("DYNAMODB_SENDER", "botocore"),
        ("TABLE_PREFIX", "a b"),
        ("REFLECTION", "maybe"),
        ("HEARTBEAT_S", "60"),
        ("KEY_CACHE_S", "61"),
        ("DEADLINE_MAX_S", "901"),
        ("DRAIN_S", "-1"),
        ("DRAIN_S", "inf"),
        ("MESSAGE_IN_MAX_BYTES", "20 GB"),
        ("MESSAGE_IN_MAX_BYTES", "0"),
        ("TOOLS_MAX", "0"),
        ("JSON_DEPTH_MAX", "257"),
        ("CREDENTIAL_WEIGHTS", "OPENAI_API_KEY"),
        ("CREDENTIAL_WEIGHTS", "OPENAI_API_KEY=0"),
        ("CREDENTIAL_WEIGHTS", "OPENAI_API_KEY=1001"),
        ("CREDENTIAL_WEIGHTS", "OPENAI_API_KEY=-1"),
        ("CREDENTIAL_WEIGHTS", "OPENAI_API_KEY=nan"),
        ("CREDENTIAL_WEIGHTS", "OPENAI_API_KEY=1,"),
        ("CREDENTIAL_WEIGHTS", "OPENAI_API_KEY=1,OPENAI_API_KEY=2"),
        ("CREDENTIALS_SECRET", "a name"),
        ("PEPPER", PEPPER),
        ("PEPPER", "1:not-base64!"),
        ("PEPPER", "1:c2hvcnQ="),
        ("PEPPER", f"1:{PEPPER},1:{OLD_PEPPER}"),
    ],
)
def test_a_value_that_cannot_be_is_refused(variable: str, value: str) -> None:
    """If this fails, a server starts with a limit, an address or a key that is not what its operator meant."""
    (line,) = problems({f"JUNCTOR_{variable}": value})
    assert line.startswith(f"JUNCTOR_{variable}: ")


def test_peppers_and_passwords_are_never_shown() -> None:
    """If this fails, a secret that guards every API key stands in a log or on a screen."""
    settings = Settings.from_environment({"JUNCTOR_PEPPER": f"1:{PEPPER}"})
    assert "Pepper(version=1)" in repr(settings)
    assert "pppp" not in repr(settings)
    told = problems(
        {
            "JUNCTOR_PEPPER": f"one:{PEPPER}",
            "JUNCTOR_DYNAMODB_ENDPOINT": "http://user:hunter2@127.0.0.1",
            "JUNCTOR_CREDENTIAL_WEIGHTS": "OPENAI_API_KEY=hunter2",
            "JUNCTOR_CREDENTIALS_SECRET": '{"OPENAI_API_KEY": "hunter2"}',
        }
    )
    assert len(told) == 4
    assert not any(PEPPER in line or "hunter2" in line for line in told)


def test_an_endpoint_implies_dynamodb() -> None:
    """If this fails, an operator who names a DynamoDB gets an empty SQLite file."""
    endpoint = {"JUNCTOR_DYNAMODB_ENDPOINT": "http://127.0.0.1:8000"}
    assert Settings.from_environment(endpoint).store is Store.DYNAMODB
    (line,) = problems({**endpoint, "JUNCTOR_STORE": "sqlite"})
    assert "JUNCTOR_DYNAMODB_ENDPOINT" in line


def test_serving_has_other_defaults_and_needs_a_pepper() -> None:
    """If this fails, each instance of a fleet makes its own pepper and refuses the keys of the others."""
    (line,) = problems({}, Command.SERVE)
    assert line.startswith("JUNCTOR_PEPPER: ")
    settings = Settings.from_environment({"JUNCTOR_PEPPER": f"1:{PEPPER}"}, Command.SERVE)
    assert (settings.store, settings.log) == (Store.DYNAMODB, None)
    assert Settings.from_environment({"JUNCTOR_STORE": "sqlite"}, Command.SERVE).peppers == ()
    assert len(problems({"JUNCTOR_PEPPER": "bad"}, Command.SERVE)) == 1


def test_the_region_falls_back_in_order() -> None:
    """If this fails, tables are sought in another region than the rest of the deployment."""
    environ = {"JUNCTOR_REGION": "eu-west-1", "AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-3"}
    found = []
    for variable in list(environ):
        found.append(Settings.from_environment(environ).region)
        environ[variable] = ""
    assert found == ["eu-west-1", "eu-west-2", "eu-west-3"]


def test_callers_variables_are_let_be() -> None:
    """If this fails, a shell that can chat cannot start a server."""
    environ = {"JUNCTOR_API_KEY": "jk-x", "JUNCTOR_TARGET": "127.0.0.1:1"}
    assert Settings.from_environment(environ) == Settings.from_environment({})


def test_the_data_folder_is_found_whatever_else_is_wrong(tmp_path: Path) -> None:
    """If this fails, a mistake in a server's setting keeps `junctor chat` from its key."""
    assert data_dir({"JUNCTOR_DATA_DIR": str(tmp_path), "JUNCTOR_LISTEN": "nonsense"}) == tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "10.1.0.0/16",
        "10.1.0.1/16:8000",
        "gpu.internal:0",
        "gpu.internal:65536",
        "gpu.internal:",
        "http://gpu.internal:80",
        "10.1.2:80",
        "0x7f.1:80",
        "fd00::1:80",
        "[fd00::1/8]:80",
        "[gpu]:80",
        "a..b:80",
        "gpu.internal:80,",
    ],
)
def test_a_private_host_that_is_none_is_refused(text: str) -> None:
    """A slip would allow nothing in silence, or more than was meant."""
    assert "JUNCTOR_PRIVATE_HOSTS" in problems({"JUNCTOR_PRIVATE_HOSTS": text})[0]


def test_own_endpoints_may_be_at_loopback_where_one_develops() -> None:
    """A model on one's own machine could not be added without a setting, or one beside a server in production could."""
    serving = Settings.from_environment({"JUNCTOR_STORE": "sqlite"}, Command.SERVE)
    assert serving.private_hosts == ()
    assert [str(row.host) for row in Settings.from_environment({}).private_hosts] == ["127.0.0.0/8", "::1"]


def test_tls_needs_all_its_files() -> None:
    """If this fails, a server listens in plain text though its operator named a certificate, or lets in who shows none."""
    assert problems({"JUNCTOR_TLS_CERT": "/c"}) == ("JUNCTOR_TLS_CERT: needs JUNCTOR_TLS_KEY",)
    assert problems({"JUNCTOR_TLS_KEY": "/k"}) == ("JUNCTOR_TLS_KEY: needs JUNCTOR_TLS_CERT",)
    assert problems({"JUNCTOR_TLS_CLIENT_CA": "/a", "JUNCTOR_ADMIN_TLS_CLIENT_CA": "/b"}) == (
        "JUNCTOR_TLS_CLIENT_CA: needs JUNCTOR_TLS_CERT",
        "JUNCTOR_ADMIN_TLS_CLIENT_CA: needs JUNCTOR_TLS_CERT",
    )
    both = {"JUNCTOR_TLS_CERT": "/c", "JUNCTOR_TLS_KEY": "/k", "JUNCTOR_TLS_CLIENT_CA": "/a"}
    settings = Settings.from_environment(both)
    assert (str(settings.tls_client_ca), settings.admin_tls_client_ca) == ("/a", settings.tls_client_ca)


def test_several_processes_need_a_store_that_they_can_share() -> None:
    """If this fails, an operator learns from a lock that one process owns the embedded store."""
    environ = {"JUNCTOR_PROCESSES": "2", "JUNCTOR_PEPPER": f"1:{PEPPER}"}
    (line,) = problems({**environ, "JUNCTOR_STORE": "sqlite"}, Command.SERVE)
    assert line == "JUNCTOR_PROCESSES: is more than 1, but the store sqlite has room for one; use dynamodb"
    assert Settings.from_environment(environ, Command.SERVE).processes == 2
    assert Settings.from_environment({"JUNCTOR_PROCESSES": "2"}).store is Store.SQLITE
