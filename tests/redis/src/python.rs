//! Real Python processes with channels_redis.
