//! The store actors.
