"""Cut populations into shards that fit one core."""
