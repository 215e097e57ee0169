//! Counted addresses.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Context, Handler, MailboxError, Message};

use super::cell::ActorCell;
use super::messages::ChildGaveUp;

/// Why a request to an actor has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActorError {
    /// The actor panicked while it held the request, or it has ended. The outcome is unknown.
    #[error("the actor is gone: the outcome is unknown")]
    Gone,
    /// No answer in time. A request not begun yet was taken back.
    #[error("the actor did not answer in time")]
    Timeout,
}

impl From<MailboxError> for ActorError {
    fn from(error: MailboxError) -> Self {
        match error {
            MailboxError::Closed => ActorError::Gone,
            MailboxError::Timeout => ActorError::Timeout,
        }
    }
}

struct Target<A: Actor> {
    addr: Addr<A>,
    cell: Arc<ActorCell>,
}

/// An actor's address together with its cell. Cloning it is one reference count.
pub struct ActorRef<A: Actor>(Arc<Target<A>>);

impl<A: Actor> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        ActorRef(self.0.clone())
    }
}

impl<A: Actor> fmt::Debug for ActorRef<A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ActorRef({})", self.0.cell.path())
    }
}

impl<A: Actor> ActorRef<A> {
    /// Pairs an address with its cell. An actor makes a reference to itself out of
    /// `ctx.address()`; it then never ends by losing its last address.
    pub fn new(addr: Addr<A>, cell: Arc<ActorCell>) -> Self {
        ActorRef(Arc::new(Target { addr, cell }))
    }

    /// The actor's cell.
    pub fn cell(&self) -> &Arc<ActorCell> {
        &self.0.cell
    }

    /// The plain address. What is sent through it is not counted.
    pub fn addr(&self) -> &Addr<A> {
        &self.0.addr
    }

    /// False once the actor has ended or given up.
    pub fn connected(&self) -> bool {
        self.0.addr.connected()
    }

    /// Sends without waiting for an answer. False if the actor is gone: the message was dropped,
    /// and a responder in it has answered.
    pub fn tell<M>(&self, message: M) -> bool
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        // Guarded mailboxes are unbounded, so the only error is a closed one.
        self.0.cell.count_sent();
        self.0.addr.try_send(message).is_ok()
    }

    /// Sends at once and yields the answer. Dropping the future takes a request back that was
    /// not begun yet.
    pub fn ask<M>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<M::Result, ActorError>> + use<A, M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        self.0.cell.count_sent();
        let request = self.0.addr.send(message);
        async move { request.await.map_err(ActorError::from) }
    }

    /// The same address narrowed to one message type, for those who shall send nothing else.
    pub fn narrow<M>(&self) -> TellRef<M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        TellRef(Arc::new(self.clone()))
    }
}

impl<A: Actor<Context = Context<A>> + Handler<ChildGaveUp>> ActorRef<A> {
    /// Makes this actor the supervisor of everything below its path: it gets [`ChildGaveUp`].
    pub fn supervise(&self) {
        self.0
            .cell
            .set_supervisor(self.0.addr.downgrade().recipient());
    }
}

type Answer<R> = Pin<Box<dyn Future<Output = Result<R, ActorError>> + Send>>;

trait Receiver<M: Message>: Send + Sync {
    fn tell(&self, message: M) -> bool;
    fn ask(&self, message: M) -> Answer<M::Result>;
    fn cell(&self) -> &Arc<ActorCell>;
}

impl<A, M> Receiver<M> for ActorRef<A>
where
    A: Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn tell(&self, message: M) -> bool {
        ActorRef::tell(self, message)
    }

    fn ask(&self, message: M) -> Answer<M::Result> {
        Box::pin(ActorRef::ask(self, message))
    }

    fn cell(&self) -> &Arc<ActorCell> {
        &self.0.cell
    }
}

/// An address that takes one type of message, whoever the actor is.
pub struct TellRef<M: Message>(Arc<dyn Receiver<M>>);

impl<M: Message> Clone for TellRef<M> {
    fn clone(&self) -> Self {
        TellRef(self.0.clone())
    }
}

impl<M: Message> fmt::Debug for TellRef<M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TellRef({})", self.0.cell().path())
    }
}

impl<M: Message> TellRef<M> {
    /// As [`ActorRef::tell`].
    pub fn tell(&self, message: M) -> bool {
        self.0.tell(message)
    }

    /// As [`ActorRef::ask`], for one more allocation.
    pub fn ask(&self, message: M) -> Answer<M::Result> {
        self.0.ask(message)
    }

    /// The cell of the actor behind.
    pub fn cell(&self) -> &Arc<ActorCell> {
        self.0.cell()
    }
}
