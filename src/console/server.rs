//! The HTTP server of the console, as an actor of the tree.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix::{
    Actor, ActorContext, ActorFutureExt, ArbiterHandle, AsyncContext, Context, Handler, Supervised,
    WrapFuture,
};
use actix_web::dev::ServerHandle;
use actix_web::http::header::{ACCEPT, ContentType};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ConsoleData;
use crate::actors::kernel::{ActorCell, ActorRef, Page, Shutdown, Tree, spawn};

/// Levels of the tree one answer may have.
const DEPTH_MAX: usize = 16;
/// Children of one node one answer may have.
const LIMIT_MAX: usize = 10_000;
/// Longest name of a fail point.
const POINT_LEN_MAX: usize = 100;
const PAGE: &str = include_str!("page.html");
const MSGPACK: &str = "application/msgpack";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where the console listens and what it allows.
#[derive(Clone, Copy, Debug)]
pub struct ConsoleConfig {
    /// `debugListenAddr` and the debug port; loopback unless configured otherwise.
    pub listen: SocketAddr,
    /// `debugAllowCrash`.
    pub allow_crash: bool,
}

/// Shared by all requests.
pub(super) struct Shared {
    tree: Tree,
    data: Arc<dyn ConsoleData>,
    registry: Registry,
    allow_crash: bool,
}

impl Shared {
    pub(super) fn new(
        tree: Tree,
        data: Arc<dyn ConsoleData>,
        registry: Registry,
        allow_crash: bool,
    ) -> Self {
        Shared {
            tree,
            data,
            registry,
            allow_crash,
        }
    }
}

/// Owns the HTTP server. A restart begins a new one on the same socket; requests in the air fail.
pub struct Console {
    cell: Arc<ActorCell>,
    shared: Arc<Shared>,
    socket: Option<TcpListener>,
    server: Option<ServerHandle>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Console({})", self.cell.path())
    }
}

impl Console {
    /// Binds and serves at `parent/console`; yields the actor and the address bound.
    ///
    /// `registry` holds the program's own metrics; see [`super::ActorCollector`] and its like for
    /// what is ready made.
    ///
    /// # Errors
    /// Whatever binding says, mostly that the address is in use.
    pub fn start(
        tree: &Tree,
        parent: &str,
        arbiter: &ArbiterHandle,
        config: ConsoleConfig,
        data: Arc<dyn ConsoleData>,
        registry: Registry,
    ) -> io::Result<(ActorRef<Console>, SocketAddr)> {
        let socket = TcpListener::bind(config.listen)?;
        let bound = socket.local_addr()?;
        let allow_crash = config.allow_crash;
        let shared = Arc::new(Shared::new(tree.clone(), data, registry, allow_crash));
        let policy = tree.restart_policy();
        let console = spawn(
            tree,
            parent,
            "console",
            "console",
            arbiter,
            policy,
            move |cell| {
                cell.set_detail(
                    move || json!({"address": bound.to_string(), "allow_crash": allow_crash}),
                );
                Console {
                    cell,
                    shared,
                    socket: Some(socket),
                    server: None,
                }
            },
        );
        Ok((console, bound))
    }

    fn serve(&mut self) {
        let served = self.try_serve();
        served.expect("the console's socket can be served");
    }

    fn try_serve(&mut self) -> io::Result<()> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        let shared = web::Data::from(self.shared.clone());
        let server = HttpServer::new(move || App::new().app_data(shared.clone()).configure(routes))
            .workers(1)
            .disable_signals()
            .shutdown_timeout(1)
            .listen(socket.try_clone()?)?
            .run();
        self.server = Some(server.handle());
        actix_rt::spawn(server);
        Ok(())
    }
}

impl Actor for Console {
    type Context = Context<Self>;

    /// After a crash the old server answers what it was asked, if only the request to crash; a second bounds
    /// it. Connections that come meanwhile wait for the new one: of two that accept, the old one would
    /// drop what it took last.
    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(old) = self.server.take() else {
            return self.serve();
        };
        let stopped = async move { old.stop(true).await };
        ctx.wait(stopped.into_actor(self).map(|(), own, _| own.serve()));
    }
}

impl Supervised for Console {}

crate::crashable!(Console);

impl Handler<Shutdown> for Console {
    type Result = ();

    /// The last to go, its connections with it.
    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.socket = None;
        match self.server.take() {
            Some(server) => {
                let stopped = async move { server.stop(false).await };
                ctx.wait(stopped.into_actor(self).map(|(), _, ctx| ctx.stop()));
            }
            None => ctx.stop(),
        }
    }
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(page))
        .route("/healthz", web::get().to(healthz))
        .route("/readyz", web::get().to(readyz))
        .route("/metrics", web::get().to(metrics))
        .route("/overview", web::get().to(overview))
        .route("/actors", web::get().to(whole_tree))
        .route("/actors/{path:.*}/crash", web::post().to(crash))
        .route("/actors/{path:.*}", web::get().to(subtree));
}

#[derive(Deserialize)]
struct PageQuery {
    depth: Option<usize>,
    limit: Option<usize>,
    offset: Option<usize>,
}

impl PageQuery {
    fn page(&self) -> Page {
        let default = Page::default();
        Page {
            depth: self.depth.unwrap_or(default.depth).min(DEPTH_MAX),
            limit: self.limit.unwrap_or(default.limit).min(LIMIT_MAX),
            offset: self.offset.unwrap_or(default.offset),
        }
    }
}

#[derive(Deserialize)]
struct CrashQuery {
    at: Option<String>,
}

async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .body(PAGE)
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::plaintext())
        .body("ok\n")
}

async fn readyz(shared: web::Data<Shared>) -> HttpResponse {
    let mut reasons = shared.data.not_ready();
    if shared.tree.stuck_count() > 0 {
        reasons.extend(
            shared
                .tree
                .stuck()
                .iter()
                .map(|cell| format!("{} is stuck", cell.path())),
        );
    }
    if reasons.is_empty() {
        return HttpResponse::Ok()
            .content_type(ContentType::plaintext())
            .body("ready\n");
    }
    let text = reasons.join("\n") + "\n";
    HttpResponse::ServiceUnavailable()
        .content_type(ContentType::plaintext())
        .body(text)
}

async fn metrics(shared: web::Data<Shared>) -> HttpResponse {
    let mut text = String::new();
    match encode(&mut text, &shared.registry) {
        Ok(()) => HttpResponse::Ok().content_type(OPENMETRICS).body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

async fn overview(request: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    answer(&request, &shared.data.overview())
}

async fn whole_tree(
    request: HttpRequest,
    shared: web::Data<Shared>,
    query: web::Query<PageQuery>,
) -> HttpResponse {
    tree_at(&request, &shared, "", &query)
}

async fn subtree(
    request: HttpRequest,
    shared: web::Data<Shared>,
    path: web::Path<String>,
    query: web::Query<PageQuery>,
) -> HttpResponse {
    tree_at(&request, &shared, path.trim_matches('/'), &query)
}

fn tree_at(request: &HttpRequest, shared: &Shared, path: &str, query: &PageQuery) -> HttpResponse {
    match shared.tree.view(path, query.page()) {
        Some(view) => answer(request, &view),
        None => not_found(path),
    }
}

async fn crash(
    shared: web::Data<Shared>,
    path: web::Path<String>,
    query: web::Query<CrashQuery>,
) -> HttpResponse {
    if !shared.allow_crash {
        let error = "debugAllowCrash is not set";
        return HttpResponse::Forbidden().json(json!({"error": error}));
    }
    let Some(cell) = shared.tree.get(&path) else {
        return not_found(&path);
    };
    match query.at.as_deref() {
        Some(point) if point.len() > POINT_LEN_MAX || point.is_empty() => {
            HttpResponse::BadRequest().json(json!({"error": "not the name of a fail point"}))
        }
        Some(point) => {
            log::warn!("{path} fail point armed at={point}");
            cell.arm(point);
            HttpResponse::Ok().json(json!({"path": *path, "armed": point}))
        }
        None if cell.crash() => {
            log::warn!("{path} crash asked for");
            HttpResponse::Ok().json(json!({"path": *path, "crashed": true}))
        }
        None => not_found(&path),
    }
}

fn not_found(path: &str) -> HttpResponse {
    HttpResponse::NotFound().json(json!({"error": "no such actor", "path": path}))
}

/// As MessagePack if the client asks for it, else as JSON.
fn answer(request: &HttpRequest, value: &impl Serialize) -> HttpResponse {
    let accept = request
        .headers()
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("msgpack")) {
        return match rmp_serde::to_vec_named(value) {
            Ok(bytes) => HttpResponse::Ok().content_type(MSGPACK).body(bytes),
            Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
        };
    }
    HttpResponse::Ok().json(value)
}
