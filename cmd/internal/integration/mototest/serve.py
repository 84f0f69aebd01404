"""Runs moto's server with Kinesis and CloudWatch Logs closer to AWS's.

moto 5.2 moves or copies the records of a shard that is split or merged into
its children, goes on putting records into closed shards, never says that a
closed shard has no more, and reads a shard while another thread writes to it.
AWS does none of that, and a reader cannot be tested with it. Nor does AWS
list the events of one log stream behind those of another.
"""

import threading
from collections import OrderedDict

from moto.kinesis import models
from moto.kinesis.models import KinesisBackend, Stream
from moto.logs.models import LogGroup
from moto.server import main

lock = threading.RLock()


def locked(method):
    def call(*args, **kwargs):
        with lock:
            return method(*args, **kwargs)

    return call


def get_shard_for_key(self, partition_key, explicit_hash_key):
    key = (
        int(explicit_hash_key)
        if explicit_hash_key
        else int(models.md5_hash(partition_key.encode("utf-8")).hexdigest(), 16)
    )
    for shard in self.shards.values():
        if shard.is_open and shard.starting_hash <= key <= shard.ending_hash:
            return shard
    return None


def keeping_records(method):
    """Lets a split or a merge see shards without records."""

    def call(self, *args):
        kept = {name: shard.records for name, shard in self.shards.items()}
        for shard in self.shards.values():
            shard.records = OrderedDict()
        try:
            return method(self, *args)
        finally:
            for name, records in kept.items():
                self.shards[name].records = records

    return call


def get_records(self, stream_arn, shard_iterator, limit):
    stream_name, shard_id, _ = models.decompose_shard_iterator(shard_iterator)
    shard = self.describe_stream(stream_arn, stream_name).get_shard(shard_id)
    following, records, behind = plain_get_records(self, stream_arn, shard_iterator, limit)
    _, _, last = models.decompose_shard_iterator(following)
    if not shard.is_open and int(last) >= shard.get_max_sequence_number():
        following = None
    return following, records, behind


plain_get_records = KinesisBackend.get_records
KinesisBackend.get_records = locked(get_records)
KinesisBackend.put_record = locked(KinesisBackend.put_record)
KinesisBackend.put_records = locked(KinesisBackend.put_records)
Stream.get_shard_for_key = get_shard_for_key
Stream.split_shard = locked(keeping_records(Stream.split_shard))
Stream.merge_shards = locked(keeping_records(Stream.merge_shards))


def filter_log_events(self, *args):
    *args, _ = args
    return plain_filter_log_events(self, *args, True)  # interleaved


plain_filter_log_events = LogGroup.filter_log_events
LogGroup.filter_log_events = locked(filter_log_events)
LogGroup.put_log_events = locked(LogGroup.put_log_events)

if __name__ == "__main__":
    main()
