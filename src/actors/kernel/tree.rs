//! Paths and cells.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde::Serialize;

use super::cell::{ActorCell, ActorState};
use super::lock;
use super::messages::ChildGaveUp;
use super::policy::RestartPolicy;

/// Nodes deeper than this are not made: a path is never built from foreign input unchecked.
const DEPTH_MAX: usize = 16;

/// A place in the tree: an actor, or a group that only has children.
#[derive(Default)]
struct Node {
    cell: Option<Arc<ActorCell>>,
    children: BTreeMap<Box<str>, Node>,
}

impl Node {
    fn at(&self, path: &str) -> Option<&Node> {
        path.split('/')
            .try_fold(self, |node, name| node.children.get(name))
    }

    fn walk(&self, found: &mut Vec<Arc<ActorCell>>) {
        found.extend(self.cell.iter().cloned());
        for child in self.children.values() {
            child.walk(found);
        }
    }

    /// Removes the cell at `path` if it is still this one, and the groups left empty above it.
    fn remove(&mut self, path: &str, cell: &Arc<ActorCell>) {
        let (name, rest) = path
            .split_once('/')
            .map_or((path, None), |(n, r)| (n, Some(r)));
        let Some(child) = self.children.get_mut(name) else {
            return;
        };
        match rest {
            Some(rest) => child.remove(rest, cell),
            None if child
                .cell
                .as_ref()
                .is_some_and(|own| Arc::ptr_eq(own, cell)) =>
            {
                child.cell = None;
            }
            None => {}
        }
        if child.cell.is_none() && child.children.is_empty() {
            self.children.remove(name);
        }
    }
}

type GaveUp = Arc<dyn Fn(&ChildGaveUp) + Send + Sync>;

struct Shared {
    name: Box<str>,
    root: RwLock<Node>,
    gave_up: Mutex<Option<GaveUp>>,
    policy: Mutex<RestartPolicy>,
    stuck: AtomicUsize,
}

/// The actors of one process or one test: paths to cells. Cloning it is one reference count.
#[derive(Clone)]
pub struct Tree(Arc<Shared>);

impl fmt::Debug for Tree {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Tree({})", self.0.name)
    }
}

/// Which part of the tree is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Levels below the asked node.
    pub depth: usize,
    /// Children of one node that are listed.
    pub limit: usize,
    /// Children of the asked node that are skipped, for the next page.
    pub offset: usize,
}

impl Default for Page {
    fn default() -> Self {
        Page {
            depth: 3,
            limit: 100,
            offset: 0,
        }
    }
}

/// The mailbox of an actor as the debug endpoint shows it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MailboxView {
    /// Messages that wait.
    pub len: u64,
    /// The most that ever waited at the beginning of a drain.
    pub max: u64,
}

/// One node as the debug endpoint shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ActorView {
    /// The path, slashes between the names.
    pub path: String,
    /// The kind of actor; `group` for a node that only has children.
    pub kind: &'static str,
    /// The state; a group is always running.
    pub state: ActorState,
    /// Restarts since it was spawned.
    pub restarts: u64,
    /// Messages handled.
    pub handled: u64,
    /// The mailbox.
    pub mailbox: MailboxView,
    /// The last panic with its place, or null.
    pub last_error: Option<String>,
    /// When it got into its state, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// What the actor publishes about itself.
    pub detail: serde_json::Value,
    /// Children that exist, listed or not.
    pub children_total: usize,
    /// The children of this page.
    pub children: Vec<ActorView>,
}

impl ActorView {
    fn of(path: &str, cell: Option<&ActorCell>) -> Self {
        let mut view = ActorView {
            path: path.to_string(),
            kind: "group",
            state: ActorState::Running,
            restarts: 0,
            handled: 0,
            mailbox: MailboxView::default(),
            last_error: None,
            since_ms: 0,
            detail: serde_json::Value::Null,
            children_total: 0,
            children: Vec::new(),
        };
        if let Some(cell) = cell {
            view.kind = cell.kind();
            view.state = cell.state();
            view.restarts = cell.restarts();
            view.handled = cell.handled();
            view.mailbox = MailboxView {
                len: cell.mailbox_len(),
                max: cell.mailbox_max(),
            };
            view.last_error = cell.last_error().map(|error| error.to_string());
            view.since_ms = cell.since_ms();
        }
        view
    }
}

/// A node of a snapshot before the details are asked: those run outside the lock.
struct Shot {
    path: String,
    cell: Option<Arc<ActorCell>>,
    children_total: usize,
    children: Vec<Shot>,
}

impl Shot {
    fn take(path: String, node: &Node, page: Page) -> Self {
        let mut children = Vec::new();
        if page.depth > 0 {
            let below = Page {
                depth: page.depth - 1,
                offset: 0,
                ..page
            };
            for (name, child) in node.children.iter().skip(page.offset).take(page.limit) {
                let child_path = if path.is_empty() {
                    name.to_string()
                } else {
                    format!("{path}/{name}")
                };
                children.push(Shot::take(child_path, child, below));
            }
        }
        Shot {
            path,
            cell: node.cell.clone(),
            children_total: node.children.len(),
            children,
        }
    }

    fn view(self) -> ActorView {
        let mut view = ActorView::of(&self.path, self.cell.as_deref());
        view.detail = self
            .cell
            .map_or(serde_json::Value::Null, |cell| cell.detail());
        view.children_total = self.children_total;
        view.children = self.children.into_iter().map(Shot::view).collect();
        view
    }
}

impl Tree {
    /// An empty tree. `name` is shown above the top-level actors if there are several.
    pub fn new(name: &str) -> Self {
        super::panics::install_hook();
        Tree(Arc::new(Shared {
            name: name.into(),
            root: RwLock::default(),
            gave_up: Mutex::default(),
            policy: Mutex::default(),
            stuck: AtomicUsize::new(0),
        }))
    }

    /// Sets how many restarts within how long the actors of this tree get: for those that are spawned
    /// from now on with [`Tree::restart_policy`].
    pub fn set_restart_budget(&self, max_restarts: u32, within_ms: u64) {
        let mut policy = lock(&self.0.policy);
        policy.max_restarts = usize::try_from(max_restarts).unwrap_or(usize::MAX);
        policy.within = Duration::from_millis(within_ms);
    }

    /// The policy of actors without a reason for another one.
    pub fn restart_policy(&self) -> RestartPolicy {
        *lock(&self.0.policy)
    }

    /// Sets what happens when an actor gave up and no ancestor supervises: the programs end with
    /// a code that is not zero, for the store is made to be recovered at start.
    pub fn on_gave_up(&self, act: impl Fn(&ChildGaveUp) + Send + Sync + 'static) {
        *lock(&self.0.gave_up) = Some(Arc::new(act));
    }

    /// Passes a give-up to the nearest supervisor above its path, else to the root's closure.
    pub fn escalate(&self, event: &ChildGaveUp) {
        self.escalate_above(&event.path, event);
    }

    /// As [`Tree::escalate`], beginning above `path`: for a supervisor that gives up in turn.
    pub fn escalate_above(&self, path: &str, event: &ChildGaveUp) {
        let mut rest = path;
        while let Some((above, _)) = rest.rsplit_once('/') {
            if self
                .get(above)
                .is_some_and(|cell| cell.tell_supervisor(event))
            {
                return;
            }
            rest = above;
        }
        let root = lock(&self.0.gave_up).clone();
        match root {
            Some(root) => root(event),
            None => log::error!(
                "{} gave up and nobody supervises error={}",
                event.path,
                event.error
            ),
        }
    }

    /// The cell of the actor at `path`.
    pub fn get(&self, path: &str) -> Option<Arc<ActorCell>> {
        self.read().at(path).and_then(|node| node.cell.clone())
    }

    /// Every cell.
    pub fn cells(&self) -> Vec<Arc<ActorCell>> {
        let mut found = Vec::new();
        self.read().walk(&mut found);
        found
    }

    /// How many actors were stuck at the watchdog's last look.
    pub fn stuck_count(&self) -> usize {
        self.0.stuck.load(Relaxed)
    }

    /// The actors that are stuck, for a message that names them.
    pub fn stuck(&self) -> Vec<Arc<ActorCell>> {
        let mut cells = self.cells();
        cells.retain(|cell| cell.is_stuck());
        cells
    }

    pub(super) fn set_stuck_count(&self, count: usize) {
        self.0.stuck.store(count, Relaxed);
    }

    /// Whether a node, actor or group, stands at `path`.
    pub fn contains(&self, path: &str) -> bool {
        self.read().at(path).is_some()
    }

    /// How many children the node at `path` has.
    pub fn child_count(&self, path: &str) -> usize {
        self.read().at(path).map_or(0, |node| node.children.len())
    }

    /// The subtree at `path`, or the whole tree for an empty path.
    pub fn view(&self, path: &str, page: Page) -> Option<ActorView> {
        let shot = {
            let root = self.read();
            match path {
                "" => match root.children.iter().next() {
                    Some((name, only)) if root.children.len() == 1 => {
                        Shot::take(name.to_string(), only, page)
                    }
                    _ => {
                        let mut all = Shot::take(String::new(), &root, page);
                        all.path = self.0.name.to_string();
                        all
                    }
                },
                path => Shot::take(path.to_string(), root.at(path)?, page),
            }
        };
        Some(shot.view())
    }

    /// Puts a new cell at `parent/name`; a stopped or dying one that stood there is replaced.
    pub(super) fn insert(&self, parent: &str, name: &str, kind: &'static str) -> Arc<ActorCell> {
        let path = if parent.is_empty() {
            name.to_string()
        } else {
            format!("{parent}/{name}")
        };
        assert!(
            path.split('/').count() <= DEPTH_MAX,
            "path {path} is deeper than {DEPTH_MAX}"
        );
        let cell = Arc::new(ActorCell::new(path.as_str().into(), kind));
        let mut root = self.write();
        let mut node = &mut *root;
        for part in path.split('/') {
            node = node.children.entry(part.into()).or_default();
        }
        node.cell = Some(cell.clone());
        cell
    }

    /// Takes a cell out of the tree.
    pub(super) fn remove(&self, cell: &Arc<ActorCell>) {
        self.write().remove(cell.path(), cell);
    }

    fn read(&self) -> RwLockReadGuard<'_, Node> {
        self.0.root.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Node> {
        self.0.root.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_come_by_page_and_empty_groups_go() {
        let tree = Tree::new("t");
        let root = tree.insert("", "broker", "broker");
        let cells: Vec<_> = (0..5)
            .map(|i| tree.insert("broker/net/connection", &format!("c{i}"), "c"))
            .collect();
        assert_eq!(tree.child_count("broker/net/connection"), 5);
        let view = tree.view("", Page::default()).unwrap();
        assert_eq!((view.path.as_str(), view.children_total), ("broker", 1));
        let page = Page {
            depth: 1,
            limit: 2,
            offset: 3,
        };
        let page = tree.view("broker/net/connection", page).unwrap();
        let paths: Vec<_> = page.children.iter().map(|c| c.path.as_str()).collect();
        assert_eq!(
            paths,
            ["broker/net/connection/c3", "broker/net/connection/c4"]
        );
        for cell in &cells {
            tree.remove(cell);
        }
        assert!(!tree.contains("broker/net"));
        assert!(
            tree.get("broker")
                .is_some_and(|cell| Arc::ptr_eq(&cell, &root))
        );
    }

    #[test]
    fn removing_an_old_cell_leaves_its_successor() {
        let tree = Tree::new("t");
        let old = tree.insert("a", "b", "x");
        let new = tree.insert("a", "b", "x");
        tree.remove(&old);
        assert!(tree.get("a/b").is_some_and(|cell| Arc::ptr_eq(&cell, &new)));
    }

    #[test]
    fn without_a_supervisor_the_root_hears() {
        let tree = Tree::new("t");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = heard.clone();
        tree.on_gave_up(move |event| lock(&ears).push(event.path.to_string()));
        tree.insert("", "a", "x");
        tree.escalate(&ChildGaveUp {
            path: "a/b/c".into(),
            kind: "x",
            error: "e".into(),
            restarts: 1,
        });
        assert_eq!(*lock(&heard), ["a/b/c"]);
    }
}
