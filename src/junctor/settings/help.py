"""What may an operator set, in his words? One row for each setting: its name, its default as it is read, what it is for.

A name stands here without its prefix. Invariant: a setting without a row does not exist, and a test holds each row to one.
"""

from typing import NamedTuple


class SettingHelp(NamedTuple):
    """One setting as its user sees it."""

    variable: str
    default: str
    meaning: str


HELP = (
    SettingHelp("LISTEN", "127.0.0.1:50051", "host:port to listen on; IPv6 in brackets; port 0 takes a free one"),
    SettingHelp("ADMIN_LISTEN", "127.0.0.1, the port after LISTEN's", "host:port of the control plane: keys, credits, limits"),
    SettingHelp("TLS_CERT", "", "file of the certificate chain, PEM; with it both listeners speak TLS, renewed as the file is"),
    SettingHelp("TLS_KEY", "", "file of its private key, PEM"),
    SettingHelp("TLS_CLIENT_CA", "", "file of the authorities, PEM, of which every client must show a certificate"),
    SettingHelp("ADMIN_TLS_CLIENT_CA", "TLS_CLIENT_CA's", "the same for clients of the control plane"),
    SettingHelp("PLAIN_TEXT", "off", "whether plain text beyond this machine is meant, as where a balancer ends TLS"),
    SettingHelp("PROCESSES", "1", "processes of junctor serve that share the listeners: Linux, and not the store sqlite"),
    SettingHelp("DATA_DIR", "the user's data folder", "folder of the embedded store and of local secrets"),
    SettingHelp("CACHE_DIR", "the user's cache folder", "folder of what can be fetched again, such as the local model"),
    SettingHelp("STORE", "sqlite for up, dynamodb for serve", "where the tables are: sqlite or dynamodb"),
    SettingHelp("DYNAMODB_ENDPOINT", "", "URL of another DynamoDB than the region's; implies the store dynamodb"),
    SettingHelp("DYNAMODB_SENDER", "signed", "what calls DynamoDB: signed (own calls) or boto3 (slower; heeds proxies)"),
    SettingHelp("REGION", "us-east-1", "AWS region; AWS_REGION and AWS_DEFAULT_REGION are read if it is absent"),
    SettingHelp("TABLE_PREFIX", "junctor-", "what the names of the tables begin with"),
    SettingHelp("PEPPER", "", "version:base64 of 32 bytes or more, several with commas; the first digests new API keys"),
    SettingHelp("REFLECTION", "off", "whether gRPC reflection is served"),
    SettingHelp("LOCAL_MODEL", "on", "whether the small local model is started"),
    SettingHelp("DRAIN_S", "110", "seconds that running calls get to end when the server stops"),
    SettingHelp("HEARTBEAT_S", "15", "seconds of silence after which a stream sends a heartbeat"),
    SettingHelp("DEADLINE_DEFAULT_S", "600", "seconds that a call without a deadline gets"),
    SettingHelp("DEADLINE_MAX_S", "900", "seconds that a call may get at most"),
    SettingHelp("MESSAGE_IN_MAX_BYTES", "20 MiB", "largest request"),
    SettingHelp("MESSAGE_OUT_MAX_BYTES", "64 MiB", "largest answer"),
    SettingHelp("CALLS_MAX", "by the machine's memory", "most calls under way in a process; the control plane takes an eighth"),
    SettingHelp(
        "REQUESTS_MAX_BYTES", "a quarter of the memory", "memory of the requests under way in a process, 8 times their size"
    ),
    SettingHelp("STREAMS_MAX", "250", "most calls under way on one connection; near it some are refused"),
    SettingHelp("PATIENCE_S", "60", "seconds that a caller may take to send a request, or to take a piece of an answer"),
    SettingHelp("MESSAGES_MAX", "4096", "most messages in a request"),
    SettingHelp("PARTS_MAX", "4096", "most parts in a request"),
    SettingHelp("TOOLS_MAX", "512", "most tools in a request"),
    SettingHelp("JSON_DEPTH_MAX", "64", "deepest JSON in a request"),
    SettingHelp("STRING_MAX_BYTES", "16 MiB", "longest string in a request"),
    SettingHelp("LOG", "log.jsonl in the data folder for up, - for serve", "file that request lines go to; - is stderr"),
    SettingHelp("CREDIT_FEE_PPM", "50000", "millionths of each payment that are kept as a fee; 0 to pass credits on whole"),
    SettingHelp("OUTPUT_HOLD_TOKENS", "8192", "output tokens for which money is held where a call sets no max_tokens"),
    SettingHelp("CREDENTIAL_WEIGHTS", "", "shares of a provider's calls, NAME=weight with commas; 1 for those not named"),
    SettingHelp("CREDENTIALS_SECRET", "", "name or ARN of a secret in Secrets Manager, a JSON object of provider keys by name"),
    SettingHelp(
        "PRIVATE_HOSTS", "loopback for up, none for serve", "host:port, with commas, where own endpoints may be private"
    ),
    SettingHelp("DISCOVER", "on", "whether junctor up looks for model servers on this machine"),
    SettingHelp("HTTP", "aiohttp", "library that speaks to providers: aiohttp or httpx"),
    SettingHelp("KEY_CACHE_S", "60", "seconds that a checked API key is trusted before it is looked up again, at most 60"),
)
