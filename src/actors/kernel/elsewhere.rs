//! A piece of an actor's work on another thread than its own.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use actix::ArbiterHandle;
use tokio::sync::oneshot;

use super::panics;

/// Runs `work` on `arbiter`; yields nothing if that has stopped. It stays a part of the actor that waits
/// for it: when the actor ends or restarts, `work` is dropped.
///
/// # Panics
/// When `work` does, so that the actor's guard counts it.
pub async fn elsewhere<F>(arbiter: &ArbiterHandle, work: F) -> Option<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let (mut tell, told) = oneshot::channel();
    arbiter.spawn(async move {
        let mut work = pin!(work);
        let caught = poll_fn(|cx| match panics::catch(|| work.as_mut().poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(report) => Poll::Ready(Err(report)),
        });
        let outcome = tokio::select! {
            outcome = caught => outcome,
            () = tell.closed() => return,
        };
        let _ = tell.send(outcome);
    });
    match told.await.ok()? {
        Ok(output) => Some(output),
        Err(report) => panic!("{report}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::AssertUnwindSafe,
        sync::{Arc, mpsc},
        thread,
        time::Duration,
    };

    use actix::Arbiter;

    use super::*;

    #[test]
    fn it_runs_there_and_its_panics_come_back() {
        actix::System::new().block_on(async {
            panics::install_hook();
            let there = Arbiter::new();
            let handle = there.handle();
            let here = thread::current().id();
            let ran_on = elsewhere(&handle, async { thread::current().id() }).await;
            assert!(ran_on.is_some_and(|id| id != here));

            let mut failing = pin!(elsewhere(&handle, async { panic!("number {}", 7) }));
            let report = poll_fn(|cx| {
                let polled = panics::catch(AssertUnwindSafe(|| failing.as_mut().poll(cx)));
                match polled {
                    Ok(Poll::Pending) => Poll::Pending,
                    Ok(Poll::Ready(_)) => Poll::Ready(None),
                    Err(report) => Poll::Ready(Some(report)),
                }
            });
            let report = report.await.expect("the panic came back");
            assert!(report.message.starts_with("number 7 at "), "{report}");

            there.stop();
            there.join().expect("it ends");
        });
    }

    #[test]
    fn it_ends_with_the_one_who_waits_or_with_the_thread() {
        actix::System::new().block_on(async {
            let there = Arbiter::new();
            let handle = there.handle();
            let held = Arc::new(());
            let (begun, begins) = mpsc::channel();
            let kept = Arc::clone(&held);
            let work = async move {
                let _kept = kept;
                let _ = begun.send(());
                std::future::pending::<()>().await;
            };
            let waiting =
                actix_rt::time::timeout(Duration::from_millis(20), elsewhere(&handle, work));
            assert!(waiting.await.is_err());
            begins.recv().expect("it began");
            while Arc::strong_count(&held) > 1 {
                actix_rt::time::sleep(Duration::from_millis(1)).await;
            }

            there.stop();
            there.join().expect("it ends");
            assert_eq!(elsewhere(&handle, async { 1 }).await, None);
        });
    }
}
