//! What runs between the router and the consumer.
