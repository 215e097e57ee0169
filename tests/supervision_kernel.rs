//! What the guard promises, on actors of their own: a poison message costs itself and nothing
//! else, a spent budget reaches the parent, and the hooks that rest on actix's inner order hold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use callboard::actors::kernel::{
    ActorCell, ActorError, ActorRef, ActorState, ChildGaveUp, Crash, Page, RestartPolicy, Shutdown,
    TellRef, Tree, after_drain, shutdown_in_order, spawn,
};
use futures_util::future::join_all;
use tokio::sync::mpsc;

/// Stands for a file: what survives the actor.
type Disk = Arc<Mutex<Vec<u64>>>;

/// Appends numbers to a disk and answers after the drain, as a group commit does.
struct Appender {
    cell: Arc<ActorCell>,
    disk: Disk,
    /// Equal to the disk at all times: what a restart must rebuild.
    len: usize,
    batch: Vec<(u64, tokio::sync::oneshot::Sender<usize>)>,
    recoveries_to_fail: Arc<AtomicU32>,
    batches: Arc<AtomicUsize>,
}

impl Appender {
    fn recover(&mut self) {
        let left = self.recoveries_to_fail.load(SeqCst);
        if left > 0 {
            self.recoveries_to_fail.store(left - 1, SeqCst);
            panic!("recovery failed");
        }
        self.len = self.disk.lock().unwrap().len();
        self.batch.clear();
    }

    fn commit(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.batches.fetch_add(1, SeqCst);
        self.cell.fail_point("before_write");
        let mut disk = self.disk.lock().unwrap();
        for (value, answer) in self.batch.drain(..) {
            disk.push(value);
            self.len += 1;
            let _ = answer.send(self.len);
        }
    }
}

impl Actor for Appender {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        after_drain(ctx, |appender: &mut Appender, _| appender.commit());
    }
}

impl Supervised for Appender {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.recover();
    }
}

callboard::crashable!(Appender);

#[derive(Message)]
#[rtype(result = "()")]
struct Append(u64, tokio::sync::oneshot::Sender<usize>);

impl Handler<Append> for Appender {
    type Result = ();

    fn handle(&mut self, append: Append, _: &mut Self::Context) {
        self.cell.begin_work();
        self.batch.push((append.0, append.1));
    }
}

#[derive(Message)]
#[rtype(result = "usize")]
struct Len;

impl Handler<Len> for Appender {
    type Result = usize;

    fn handle(&mut self, _: Len, _: &mut Self::Context) -> usize {
        self.cell.begin_work();
        self.commit();
        self.len
    }
}

impl Handler<Shutdown> for Appender {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.commit();
        ctx.stop();
    }
}

/// Holds the arbiter until it is let go: what is sent meanwhile is certainly queued.
#[derive(Message)]
#[rtype(result = "()")]
struct Hold(std::sync::mpsc::Receiver<()>);

impl Handler<Hold> for Appender {
    type Result = ();

    fn handle(&mut self, hold: Hold, _: &mut Self::Context) {
        self.cell.begin_work();
        let _ = hold.0.recv();
    }
}

struct Bench {
    tree: Tree,
    disk: Disk,
    recoveries_to_fail: Arc<AtomicU32>,
    batches: Arc<AtomicUsize>,
    arbiter: Arbiter,
    gave_up: mpsc::UnboundedReceiver<ChildGaveUp>,
}

impl Bench {
    fn new() -> Self {
        let tree = Tree::new("test");
        let (told, gave_up) = mpsc::unbounded_channel();
        tree.on_gave_up(move |event| told.send(event.clone()).unwrap());
        Bench {
            tree,
            disk: Disk::default(),
            recoveries_to_fail: Arc::default(),
            batches: Arc::default(),
            arbiter: Arbiter::new(),
            gave_up,
        }
    }

    fn appender(&self, name: &str, policy: RestartPolicy) -> ActorRef<Appender> {
        let (disk, batches) = (self.disk.clone(), self.batches.clone());
        let recoveries_to_fail = self.recoveries_to_fail.clone();
        let handle = self.arbiter.handle();
        spawn(
            &self.tree,
            "test/store",
            name,
            "appender",
            &handle,
            policy,
            move |cell| {
                let batch = Vec::new();
                let mut made = Appender {
                    cell,
                    disk,
                    len: 0,
                    batch,
                    recoveries_to_fail,
                    batches,
                };
                made.recover();
                made
            },
        )
    }
}

fn quick() -> RestartPolicy {
    RestartPolicy::default()
        .with_max_restarts(1000)
        .without_backoff()
}

/// Queues `count` appends behind whatever the mailbox holds.
fn queue(
    to: &ActorRef<Appender>,
    values: std::ops::Range<u64>,
) -> Vec<tokio::sync::oneshot::Receiver<usize>> {
    values
        .map(|value| {
            let (answer, receiver) = tokio::sync::oneshot::channel();
            assert!(to.tell(Append(value, answer)));
            receiver
        })
        .collect()
}

#[actix::test]
async fn poison_message_leaves_the_500_behind_it_their_turn() {
    let bench = Bench::new();
    let appender = bench.appender("appender", quick());
    let (release, hold) = std::sync::mpsc::channel();
    appender.tell(Hold(hold));
    let poison = appender.ask(Crash);
    let answers = queue(&appender, 0..500);
    assert!(appender.cell().mailbox_len() >= 501);
    release.send(()).unwrap();
    assert_eq!(poison.await, Err(ActorError::Gone));
    let answers = join_all(answers).await;
    let lens: Vec<usize> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(lens, (1..=500).collect::<Vec<_>>());
    assert_eq!(*bench.disk.lock().unwrap(), (0..500).collect::<Vec<u64>>());
    assert!(appender.connected());
    let cell = appender.cell();
    assert_eq!(
        (cell.restarts(), cell.generation(), cell.state()),
        (1, 1, ActorState::Running)
    );
    assert!(
        cell.last_error()
            .unwrap()
            .contains("crash asked for at tests/supervision_kernel.rs")
    );
    assert!(cell.mailbox_max() >= 500);
    assert_eq!(appender.ask(Len).await, Ok(500));
    assert_eq!(cell.mailbox_len(), 0);
}

#[actix::test]
async fn one_commit_serves_a_whole_drain() {
    let bench = Bench::new();
    let appender = bench.appender("appender", quick());
    let (release, hold) = std::sync::mpsc::channel();
    appender.tell(Hold(hold));
    let answers = queue(&appender, 0..256);
    release.send(()).unwrap();
    join_all(answers)
        .await
        .into_iter()
        .for_each(|answer| assert!(answer.is_ok()));
    assert_eq!(bench.batches.load(SeqCst), 1);
}

#[actix::test]
async fn recovery_that_panics_is_counted_and_tried_again() {
    let bench = Bench::new();
    let appender = bench.appender("appender", quick());
    assert_eq!(appender.ask(Len).await, Ok(0));
    bench.disk.lock().unwrap().push(7);
    bench.recoveries_to_fail.store(3, SeqCst);
    assert!(appender.ask(Crash).await.is_err());
    assert_eq!(appender.ask(Len).await, Ok(1));
    assert_eq!(appender.cell().restarts(), 4);
    assert!(
        appender
            .cell()
            .last_error()
            .unwrap()
            .contains("recovery failed")
    );
}

#[actix::test]
async fn armed_fail_point_tears_a_turn_once() {
    let bench = Bench::new();
    let appender = bench.appender("appender", quick());
    assert_eq!(appender.ask(Len).await, Ok(0));
    appender.cell().arm("before_write");
    let lost = join_all(queue(&appender, 0..1)).await;
    assert!(lost[0].is_err());
    let kept = join_all(queue(&appender, 1..2)).await;
    assert_eq!(kept[0], Ok(1));
    assert_eq!(*bench.disk.lock().unwrap(), [1]);
}

#[actix::test]
async fn spent_budget_tells_the_root_and_closes_the_address() {
    let mut bench = Bench::new();
    let policy = RestartPolicy::default()
        .with_max_restarts(3)
        .without_backoff();
    let appender = bench.appender("appender", policy);
    for _ in 0..3 {
        assert!(appender.ask(Crash).await.is_err());
        assert_eq!(appender.ask(Len).await, Ok(0));
    }
    appender.tell(Crash);
    let event = bench.gave_up.recv().await.unwrap();
    assert_eq!(
        (&*event.path, event.kind, event.restarts),
        ("test/store/appender", "appender", 4)
    );
    assert!(!appender.connected());
    assert!(!appender.tell(Crash));
    assert_eq!(appender.ask(Len).await, Err(ActorError::Gone));
    assert_eq!(appender.cell().state(), ActorState::Stopped);
    assert!(!bench.tree.contains("test/store"));
}

#[actix::test]
async fn neighbours_on_the_same_arbiter_are_untouched() {
    let bench = Bench::new();
    let victim = bench.appender("victim", quick());
    let neighbour = bench.appender("neighbour", quick());
    for round in 0..50_u64 {
        victim.tell(Crash);
        let answers = join_all(queue(&neighbour, round..round + 1)).await;
        assert!(answers[0].is_ok());
    }
    assert!(victim.ask(Len).await.is_ok());
    assert_eq!(
        (victim.cell().restarts(), neighbour.cell().restarts()),
        (50, 0)
    );
    assert!(neighbour.cell().last_error().is_none());
}

#[actix::test]
async fn backoff_delays_and_the_mailbox_waits() {
    let bench = Bench::new();
    let policy = RestartPolicy {
        backoff_min: Duration::from_millis(2),
        backoff_max: Duration::from_millis(4),
        ..quick()
    };
    let appender = bench.appender("appender", policy);
    for round in 1..=5 {
        appender.tell(Crash);
        let answers = join_all(queue(&appender, round..round + 1)).await;
        assert!(answers[0].is_ok());
    }
    assert_eq!(appender.cell().restarts(), 5);
}

/// Supervises what is below it: starts a fresh child until it has had enough.
struct Parent {
    children: BTreeMap<String, u32>,
    told: mpsc::UnboundedSender<(String, u32)>,
    tree: Tree,
    fresh_max: u32,
}

impl Actor for Parent {
    type Context = Context<Self>;
}
impl Supervised for Parent {}
callboard::crashable!(Parent);

impl Handler<ChildGaveUp> for Parent {
    type Result = ();

    fn handle(&mut self, event: ChildGaveUp, _: &mut Self::Context) {
        let times = self.children.entry(event.path.to_string()).or_default();
        *times += 1;
        if *times > self.fresh_max {
            self.tree.escalate_above("test/store", &event);
        } else {
            self.told.send((event.path.to_string(), *times)).unwrap();
        }
    }
}

#[actix::test]
async fn nearest_supervisor_hears_first_and_may_pass_it_on() {
    let mut bench = Bench::new();
    let (told, mut heard) = mpsc::unbounded_channel();
    let tree = bench.tree.clone();
    let here = Arbiter::current();
    let parent = spawn(
        &bench.tree,
        "test",
        "store",
        "store",
        &here,
        quick(),
        move |_| Parent {
            children: BTreeMap::new(),
            told,
            tree,
            fresh_max: 1,
        },
    );
    parent.supervise();
    let policy = RestartPolicy::default().with_max_restarts(0);
    for round in 1..=2 {
        let child = bench.appender("child", policy);
        assert_eq!(child.ask(Len).await, Ok(0));
        child.tell(Crash);
        if round == 1 {
            assert_eq!(
                heard.recv().await.unwrap(),
                ("test/store/child".to_string(), 1)
            );
        } else {
            assert_eq!(
                &*bench.gave_up.recv().await.unwrap().path,
                "test/store/child"
            );
        }
    }
    assert!(parent.connected());
}

#[actix::test]
async fn first_recovery_that_panics_is_a_give_up() {
    let mut bench = Bench::new();
    bench.recoveries_to_fail.store(1, SeqCst);
    let appender = bench.appender("appender", quick());
    let event = bench.gave_up.recv().await.unwrap();
    assert!(event.error.contains("recovery failed"), "{}", event.error);
    assert_eq!(appender.ask(Len).await, Err(ActorError::Gone));
}

#[actix::test]
async fn cancelled_requests_leave_the_mailbox_count() {
    let bench = Bench::new();
    let appender = bench.appender("appender", quick());
    let (release, hold) = std::sync::mpsc::channel();
    appender.tell(Hold(hold));
    drop((0..10).map(|_| appender.ask(Len)).collect::<Vec<_>>());
    release.send(()).unwrap();
    assert_eq!(appender.ask(Len).await, Ok(0));
    assert_eq!(appender.ask(Len).await, Ok(0));
    assert_eq!(appender.cell().handled(), 3);
    // The count heals at the end of a drain, which may come after the answer.
    while appender.cell().mailbox_len() > 0 {
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn shutdown_is_answered_and_ends_the_actor() {
    let bench = Bench::new();
    let first = bench.appender("first", quick());
    let second = bench.appender("second", quick());
    assert!(first.ask(Crash).await.is_err());
    let steps: Vec<TellRef<Shutdown>> = vec![first.narrow(), second.narrow()];
    let failed = shutdown_in_order(&steps, Duration::from_secs(10)).await;
    assert!(failed.is_empty(), "{failed:?}");
    while bench.tree.contains("test/store") {
        tokio::task::yield_now().await;
    }
    let again = shutdown_in_order(&steps, Duration::from_secs(10)).await;
    assert_eq!(again.len(), 2);
}

#[actix::test]
async fn stopping_an_arbiter_does_not_run_actors_at_teardown() {
    let bench = Bench::new();
    let (release, hold) = std::sync::mpsc::channel();
    bench.arbiter.spawn_fn(move || {
        let _ = hold.recv();
    });
    // Never polled before the arbiter stops.
    let appender = bench.appender("appender", quick());
    let Bench { arbiter, tree, .. } = bench;
    arbiter.stop();
    release.send(()).unwrap();
    arbiter.join().unwrap();
    assert!(!appender.connected());
    assert!(!tree.contains("test"));
}

#[actix::test]
async fn tree_shows_what_happened() {
    let bench = Bench::new();
    let appender = bench.appender("appender", quick());
    appender
        .cell()
        .set_detail(|| serde_json::json!({"log_end": 42}));
    assert!(appender.ask(Crash).await.is_err());
    assert_eq!(appender.ask(Len).await, Ok(0));
    let view = bench.tree.view("", Page::default()).unwrap();
    let shown = serde_json::to_value(&view).unwrap();
    let appender = &shown["children"][0]["children"][0];
    assert_eq!(appender["path"], "test/store/appender");
    assert_eq!(appender["state"], "running");
    assert_eq!(appender["restarts"], 1);
    assert_eq!(appender["handled"], 1);
    assert_eq!(appender["detail"]["log_end"], 42);
}
