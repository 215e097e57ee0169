//! The delivery actors.
