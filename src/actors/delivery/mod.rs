//! Deliveries: messages that the broker itself brings where they belong, later.
