"""The protocol of a score, how it was measured: in words and as an id."""

from typing import Any

from gan.system.files import digest

PROTOCOL = (
    "{extractor}, {resize}, {n_fakes:,} samples of the {generator} generator, z seed {z_seed}, "
    "against {n_reals:,} {reference} images"
)

PROTOCOL_ID = "protocol_id"  # in a run's summary, to filter by


def hash_protocol(protocol: dict[str, Any]) -> str:
    """Return the first 8 hexadecimal digits of a hash of all fields of a protocol."""
    return digest(protocol)[:8]
