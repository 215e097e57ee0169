//! The broker actors.
