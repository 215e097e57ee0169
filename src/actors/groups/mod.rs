//! The groups actors.
