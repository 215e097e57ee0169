//! Catching panics with their place.
//!
//! `catch_unwind` yields the payload but not the place, so a process-wide panic hook leaves the
//! place in a thread-local. Panics outside a guard go to the hook that was there before.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// One caught panic.
#[derive(Clone, Debug, Default)]
pub struct PanicReport {
    /// The payload, if it was text.
    pub message: String,
    /// `file:line:column`, empty if unknown.
    pub location: String,
    /// The backtrace, if RUST_BACKTRACE asks for one.
    pub backtrace: Option<String>,
}

impl fmt::Display for PanicReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at {}", self.message, self.location)
    }
}

thread_local! {
    /// How many guards are polling on this thread, one inside the other.
    static GUARDED: Cell<u32> = const { Cell::new(0) };
    static LAST: RefCell<Option<(String, Option<String>)>> = const { RefCell::new(None) };
}

/// Installs the hook once per process.
pub(super) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let guarded = GUARDED.try_with(|depth| depth.get() > 0).unwrap_or(false);
            if !guarded {
                previous(info);
                return;
            }
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let trace = Backtrace::capture();
            let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
            let _ = LAST.try_with(|last| {
                if let Ok(mut last) = last.try_borrow_mut() {
                    *last = Some((place, trace));
                }
            });
        }));
    });
}

/// Runs `work` and turns a panic into a report.
///
/// The caller vouches that nothing torn by the panic is looked at again: the guard rebuilds the
/// actor or drops it.
pub(super) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, PanicReport> {
    GUARDED.with(|depth| depth.set(depth.get() + 1));
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.with(|depth| depth.set(depth.get() - 1));
    result.map_err(|payload| {
        let (location, backtrace) = LAST
            .with(|last| last.borrow_mut().take())
            .unwrap_or_default();
        PanicReport {
            message: text_of(payload.as_ref()),
            location,
            backtrace,
        }
    })
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "panic without a text".to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_place_are_kept() {
        install_hook();
        let report = catch(|| panic!("number {}", 7)).unwrap_err();
        assert_eq!(report.message, "number 7");
        assert!(
            report.location.contains("panics.rs:"),
            "{}",
            report.location
        );
        let odd = catch(|| std::panic::panic_any(7_u8)).unwrap_err();
        assert_eq!(odd.message, "panic without a text");
        assert_eq!(catch(|| 3).unwrap(), 3);
    }
}
