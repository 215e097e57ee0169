//! The kernel actors.
