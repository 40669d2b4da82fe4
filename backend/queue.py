"""The job queue: Huey over an embedded SQLite file, or over Redis for any number of workers.

Messages travel as JSON: whoever can write to the queue cannot make a worker run code of their own.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any

from huey import Huey
from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import PriorityRedisExpireStorage, SqliteStorage
from redis import ConnectionPool
from redis.client import Pipeline

from backend.settings import Settings

NAME = "label-studio-anomaly"
RESPONSE_SECONDS = 3
Change = Callable[[bytes | None], bytes]

log = logging.getLogger(__name__)


class JsonSerializer(Serializer):  # type: ignore[misc]
    """Huey's messages and values as JSON instead of pickle."""

    def _serialize(self, data: Any) -> bytes:
        if isinstance(data, Message):
            fields = data._asdict()
            eta = fields["eta"]
            data = {"message": fields | {"eta": eta.isoformat() if eta else None}}
        return json.dumps(data).encode()

    def _deserialize(self, data: bytes) -> Any:
        value = json.loads(bytes(data))
        if isinstance(value, dict) and "message" in value:
            fields = value["message"]
            eta = fields["eta"]
            return Message(**fields | {"eta": datetime.fromisoformat(eta) if eta else None})
        return value


class FileStorage(SqliteStorage):  # type: ignore[misc]
    """Does not wait for the disk at every write: a power cut may cost the last ones, which a reconcile makes up for."""

    def _create_connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._create_connection()
        connection.execute("pragma synchronous=normal")
        return connection

    def change(self, key: str, change: Change) -> None:
        """Replaces a value by what `change` makes of it; meanwhile no other process can change it."""
        with self.db(commit=True) as cursor:
            cursor.execute("select value from kv where queue = ? and key = ?", (self.name, key))
            known = cursor.fetchone()
            row = (self.name, key, change(known and known[0]))
            cursor.execute("insert or replace into kv (queue, key, value) values (?, ?, ?)", row)


class RedisStorage(PriorityRedisExpireStorage):  # type: ignore[misc]
    """Serves any number of workers."""

    def change(self, key: str, change: Change) -> None:
        """Likewise; it begins anew where another process was faster."""
        name = self.result_key(key)

        def swap(pipe: Pipeline) -> None:
            changed = change(pipe.get(name))  # type: ignore[arg-type]
            pipe.multi()
            pipe.set(name, changed)

        self.conn.transaction(swap, name)


def open_queue(settings: Settings) -> Huey:
    """The queue that the settings name. Redis is not contacted yet."""
    common = {"results": False, "serializer": JsonSerializer()}
    if settings.embedded:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        return Huey(NAME, storage_class=FileStorage, filename=str(settings.data_dir / "queue.db"), **common)
    patience = {"socket_connect_timeout": RESPONSE_SECONDS, "socket_timeout": RESPONSE_SECONDS}
    pool = ConnectionPool.from_url(settings.queue_url, **patience)
    return Huey(NAME, storage_class=RedisStorage, connection_pool=pool, **common)


def remedy(settings: Settings) -> str:
    """What to do where the queue cannot be reached."""
    return (
        "make room, or change DATA_DIR or its permissions" if settings.embedded else "start Redis or change QUEUE_URL"
    )
