//! The whole tree rests on unwinding: `panic = "abort"` in the release profile would undo it.
//! Run with `cargo test --release --test release_panic`.

use std::sync::Arc;

use actix::prelude::*;
use callboard::actors::kernel::{ActorCell, ActorError, Crash, RestartPolicy, Tree, spawn};

struct Life {
    cell: Arc<ActorCell>,
    number: u32,
}

impl Actor for Life {
    type Context = Context<Self>;
}

impl Supervised for Life {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.number += 1;
    }
}

callboard::crashable!(Life);

#[derive(Message)]
#[rtype(result = "u32")]
struct WhichLife;

impl Handler<WhichLife> for Life {
    type Result = u32;

    fn handle(&mut self, _: WhichLife, _: &mut Self::Context) -> u32 {
        self.cell.begin_work();
        self.number
    }
}

#[actix::test]
async fn a_panic_in_this_profile_is_a_restart() {
    let tree = Tree::new("test");
    let here = Arbiter::current();
    let policy = RestartPolicy::default();
    let life = spawn(&tree, "test", "life", "life", &here, policy, |cell| Life {
        cell,
        number: 1,
    });
    assert_eq!(life.ask(WhichLife).await, Ok(1));
    assert_eq!(life.ask(Crash).await, Err(ActorError::Gone));
    assert_eq!(life.ask(WhichLife).await, Ok(2));
    assert_eq!(life.cell().restarts(), 1);
}
