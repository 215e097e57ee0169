//! The endpoint's answers, and once over a real socket.

use std::sync::Arc;

use actix::prelude::*;
use actix_web::http::StatusCode;
use actix_web::{App, test, web};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::{Shared, routes};
use super::*;
use crate::actors::kernel::{ActorCell, ActorRef, RestartPolicy, Shutdown, Tree, spawn};

struct Facts;

impl ConsoleData for Facts {
    fn overview(&self) -> Overview {
        Overview {
            title: "broker broker-a".to_string(),
            facts: vec![Fact::new("log end", 42)],
            topics: vec![TopicRow {
                topic: "T".to_string(),
                messages: 7,
                ..TopicRow::default()
            }],
            groups: Vec::new(),
        }
    }
}

struct Pupil(Arc<ActorCell>);

impl Actor for Pupil {
    type Context = Context<Self>;
}
impl Supervised for Pupil {}
crate::crashable!(Pupil);

#[derive(Message)]
#[rtype(result = "()")]
struct Work;

impl Handler<Work> for Pupil {
    type Result = ();

    fn handle(&mut self, _: Work, _: &mut Self::Context) {
        self.0.begin_work();
        self.0.fail_point("middle");
    }
}

fn pupil(tree: &Tree, path: (&str, &str)) -> ActorRef<Pupil> {
    let policy = RestartPolicy::default().without_backoff();
    spawn(
        tree,
        path.0,
        path.1,
        "pupil",
        &Arbiter::current(),
        policy,
        Pupil,
    )
}

fn shared(tree: &Tree, allow_crash: bool) -> web::Data<Shared> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ActorCollector(tree.clone())));
    web::Data::new(Shared::new(
        tree.clone(),
        Arc::new(Facts),
        registry,
        allow_crash,
    ))
}

/// Asks an application made of the routes; yields status, content type and body.
macro_rules! ask {
    ($tree:expr, $crash:expr, $request:expr) => {{
        let app = App::new().app_data(shared($tree, $crash)).configure(routes);
        let app = test::init_service(app).await;
        let answer = test::call_service(&app, $request.to_request()).await;
        let kind = answer
            .headers()
            .get("content-type")
            .map(|kind| kind.to_str().unwrap().to_string());
        (
            answer.status(),
            kind.unwrap_or_default(),
            test::read_body(answer).await,
        )
    }};
}

#[actix::test]
async fn tree_comes_as_json_and_as_messagepack() {
    let tree = Tree::new("t");
    let root = pupil(&tree, ("", "broker"));
    let retry = pupil(&tree, ("broker/store/queues/0", "%RETRY%g/3"));
    root.ask(Work).await.unwrap();
    let (status, kind, body) = ask!(&tree, false, test::TestRequest::get().uri("/actors"));
    assert_eq!(
        (status, kind.as_str()),
        (StatusCode::OK, "application/json")
    );
    let shown: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&shown["path"], &shown["handled"]),
        (&"broker".into(), &1.into())
    );
    assert_eq!(
        shown["children"][0]["children"][0]["children"][0]["children"],
        Value::Array(vec![])
    );
    for key in [
        "kind",
        "state",
        "restarts",
        "mailbox",
        "last_error",
        "since_ms",
        "detail",
    ] {
        assert!(shown.get(key).is_some(), "{key}");
    }
    let request = test::TestRequest::get()
        .uri("/actors")
        .insert_header(("accept", MSGPACK));
    let (_, kind, body) = ask!(&tree, false, request);
    assert_eq!(kind, MSGPACK);
    let packed: Value = rmp_serde::from_slice(&body).unwrap();
    assert_eq!(packed["children"], shown["children"]);
    let uri = "/actors/broker/store/queues/0/%25RETRY%25g?depth=1";
    let (status, _, body) = ask!(&tree, false, test::TestRequest::get().uri(uri));
    let subtree: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status, &subtree["kind"]),
        (StatusCode::OK, &"group".into())
    );
    assert_eq!(
        subtree["children"][0]["path"],
        retry.cell().path().to_string()
    );
    let (status, ..) = ask!(&tree, false, test::TestRequest::get().uri("/actors/nobody"));
    assert_eq!(status, StatusCode::NOT_FOUND);
}

const MSGPACK: &str = "application/msgpack";

#[actix::test]
async fn crashing_needs_permission() {
    let tree = Tree::new("t");
    let victim = pupil(&tree, ("broker", "victim"));
    let uri = "/actors/broker/victim/crash";
    let (status, ..) = ask!(&tree, false, test::TestRequest::post().uri(uri));
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, ..) = ask!(&tree, true, test::TestRequest::post().uri(uri));
    assert_eq!(status, StatusCode::OK);
    victim.ask(Work).await.unwrap();
    assert_eq!(victim.cell().restarts(), 1);
    let armed = format!("{uri}?at=middle");
    let (status, ..) = ask!(&tree, true, test::TestRequest::post().uri(&armed));
    assert_eq!(status, StatusCode::OK);
    assert!(victim.ask(Work).await.is_err());
    victim.ask(Work).await.unwrap();
    assert_eq!(victim.cell().restarts(), 2);
    for nobody in ["/actors/broker/crash", "/actors/x/y/crash"] {
        let (status, ..) = ask!(&tree, true, test::TestRequest::post().uri(nobody));
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
}

#[actix::test]
async fn metrics_overview_health_and_page() {
    let tree = Tree::new("t");
    let _root = pupil(&tree, ("", "broker"));
    let (_, kind, body) = ask!(&tree, false, test::TestRequest::get().uri("/metrics"));
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        text.contains("callboard_actors{kind=\"pupil\"} 1\n"),
        "{text}"
    );
    let (_, _, body) = ask!(&tree, false, test::TestRequest::get().uri("/overview"));
    let overview: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(overview["topics"][0]["messages"], 7);
    for (uri, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let (status, _, body) = ask!(&tree, false, test::TestRequest::get().uri(uri));
        assert_eq!((status, &body[..]), (StatusCode::OK, text.as_bytes()));
    }
    let (_, kind, body) = ask!(&tree, false, test::TestRequest::get().uri("/"));
    assert!(kind.starts_with("text/html"));
    let page = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        !page.contains("http"),
        "the page needs nothing from outside"
    );
}

#[actix::test]
async fn console_is_an_actor_that_survives_and_ends() {
    let tree = Tree::new("t");
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = ConsoleConfig {
        listen,
        allow_crash: true,
    };
    let here = Arbiter::current();
    let registry = Registry::default();
    let started = Console::start(&tree, "broker", &here, config, Arc::new(Facts), registry);
    let (console, address) = started.unwrap();
    let get = || async move {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    assert!(get().await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(tree.get("broker/console").unwrap().crash());
    while console.cell().restarts() == 0 {
        tokio::task::yield_now().await;
    }
    // A connection that the old server had still taken is closed with it.
    let mut tries = 0;
    let answer = loop {
        match get().await {
            Ok(answer) if !answer.is_empty() => break answer,
            failed if tries == 20 => panic!("no answer after a restart: {failed:?}"),
            _ => tries += 1,
        }
    };
    assert!(answer.starts_with("HTTP/1.1 200"));
    console.ask(Shutdown).await.unwrap();
    while tree.contains("broker/console") {
        tokio::task::yield_now().await;
    }
}
