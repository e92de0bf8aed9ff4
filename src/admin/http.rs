//! HTTP for operators and their tools: metrics, readiness, plugins, and calls of recipes. It is off by default.
//!
//! | request | answers |
//! |---|---|
//! | `GET /metrics` | figures in Prometheus' text format |
//! | `GET /healthz` | 200 while the process answers |
//! | `GET /readyz` | 200 if clients are served and all plugins run that should; otherwise 503 and the reason |
//! | `GET /plugins` | every plugin's state and counters, as JSON |
//! | `POST /plugins/NAME/call/METHOD` | what the recipe returns; only for the superuser, by HTTP basic authentication |
//!
//! Promises: at most `limits::ADMIN_CONNECTIONS_MAX` connections are served at a time. A connection that asks nothing
//! makes room for a new one. The time of an answer and the bytes of a body are bounded, so no caller occupies a
//! connection for long. A request with an `Origin`, which a browser sends for a page, changes nothing.

use crate::limits;
use crate::model::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// What the server offers by HTTP.
pub(crate) trait Admin: Send + Sync + 'static {
    /// Metrics in Prometheus' text format.
    fn metrics(&self) -> String;
    /// Checks that this server can take clients. The error is a sentence that says why it cannot.
    fn ready(&self) -> Result<(), String>;
    /// All plugins, as JSON.
    fn plugins(&self) -> String;
    /// Whether the client at `peer` may do what the superuser may. `credential`: the superuser's `NAME:PASSWORD`. None:
    /// the request has no credential.
    fn is_superuser(&self, credential: Option<&str>, peer: SocketAddr) -> bool;
    /// Calls a recipe as the superuser.
    fn call(&self, call: RecipeCall) -> BoxFuture<'static, Result<Bytes, CallError>>;
}

/// Why a call has no result.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum CallError {
    /// The call was refused, and has changed nothing.
    #[error("{}", if .0.text.is_empty() { .0.code.name() } else { &.0.text })]
    Refused(Refusal),
    /// This member does not lead, and the call has changed nothing. `leader`: the leader as far as this member knows.
    #[error("this server does not lead, {}", leads(.leader))]
    NotLeading { leader: Option<u64> },
    /// The leadership was lost during the call, which may have taken effect or not.
    #[error("the leadership was lost during the call: it may have taken effect or not")]
    Unknown,
}

/// The end of the sentence about a server that does not lead.
fn leads(leader: &Option<u64>) -> String {
    match leader {
        Some(leader) => format!("server {leader} does: call it there"),
        None => "and no server does at the moment: try again".to_owned(),
    }
}

/// A call of a recipe's method.
#[derive(Debug)]
pub(crate) struct RecipeCall {
    pub(crate) plugin: String,
    pub(crate) method: String,
    pub(crate) payload: Bytes,
    pub(crate) peer: SocketAddr,
}

/// Opens the port. The error is a sentence for the operator.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    use anyhow::Context;
    let listener = std::net::TcpListener::bind(address)
        .with_context(|| format!("listen on {address} for HTTP: admin.serverPort chooses another port"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves requests until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<dyn Admin>) {
    let places = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS_MAX));
    let calls = Arc::new(Semaphore::new(limits::ADMIN_CALLS_MAX));
    let mut silent = VecDeque::new();
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely the process is out of file descriptors. Some will be free later.
                tracing::warn!(%error, "accept a connection for HTTP");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        silent.retain(Silent::is_silent);
        if places.available_permits() == 0
            && let Some(oldest) = silent.pop_front()
        {
            oldest.task.abort();
        }
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let has_asked = Arc::new(AtomicBool::new(false));
        let asked = has_asked.clone();
        let (admin, calls) = (admin.clone(), calls.clone());
        let task = tokio::spawn(async move {
            let answer = service_fn(move |request| {
                asked.store(true, Relaxed);
                let (admin, calls) = (admin.clone(), calls.clone());
                async move { Ok::<_, Infallible>(answer(&*admin, &calls, request, peer).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::ADMIN_HEADER_TIMEOUT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(socket), answer);
            // An error here means that the caller has no answer, and the caller notices that.
            let _ = tokio::time::timeout(limits::ADMIN_ANSWER_TIMEOUT, connection).await;
            drop(place);
        });
        silent.push_back(Silent { task: task.abort_handle(), has_asked });
    }
}

/// A connection that had not sent the header of its request when it was last looked at.
struct Silent {
    task: AbortHandle,
    has_asked: Arc<AtomicBool>,
}

impl Silent {
    fn is_silent(&self) -> bool {
        !self.has_asked.load(Relaxed) && !self.task.is_finished()
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(admin: &dyn Admin, calls: &Semaphore, request: Request<Incoming>, peer: SocketAddr) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["metrics"]) => text(StatusCode::OK, "text/plain; version=0.0.4", admin.metrics()),
        (&Method::GET, ["healthz"]) => plain(StatusCode::OK, "ok\n"),
        (&Method::GET, ["readyz"]) => match admin.ready() {
            Ok(()) => plain(StatusCode::OK, "ok\n"),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        (&Method::GET, ["plugins"]) => text(StatusCode::OK, "application/json", admin.plugins()),
        (&Method::POST, ["plugins", plugin, "call", method]) => {
            if request.headers().contains_key(ORIGIN) {
                return plain(StatusCode::FORBIDDEN, "a page in a browser may not call recipes\n");
            }
            if !admin.is_superuser(credential(&request).as_deref(), peer) {
                let mut refused = plain(StatusCode::UNAUTHORIZED, "the superuser's name and password are required\n");
                let basic = hyper::header::HeaderValue::from_static("Basic realm=\"wasmkeeper\"");
                refused.headers_mut().insert(WWW_AUTHENTICATE, basic);
                return refused;
            }
            let Ok(_running) = calls.try_acquire() else {
                let sentence = format!("{} calls are running; try again\n", limits::ADMIN_CALLS_MAX);
                return plain(StatusCode::SERVICE_UNAVAILABLE, sentence);
            };
            let (plugin, method) = ((*plugin).to_owned(), (*method).to_owned());
            match Limited::new(request.into_body(), limits::PLUGIN_CALL_BYTES_MAX).collect().await {
                Ok(payload) => {
                    called(admin.call(RecipeCall { plugin, method, payload: payload.to_bytes(), peer }).await)
                }
                Err(_) => {
                    let sentence =
                        format!("the payload is cut short or has more than {} bytes\n", limits::PLUGIN_CALL_BYTES_MAX);
                    plain(StatusCode::PAYLOAD_TOO_LARGE, sentence)
                }
            }
        }
        (_, ["metrics" | "healthz" | "readyz" | "plugins"] | ["plugins", _, "call", _]) => plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "GET /metrics, /healthz, /readyz, /plugins; POST /plugins/NAME/call/METHOD\n",
        ),
        _ => plain(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz, /readyz, /plugins and /plugins/NAME/call/METHOD\n",
        ),
    }
}

/// The response to a call. For a refusal the body has ZooKeeper's error code and the text: `NONODE there is no such
/// lock`.
fn called(result: Result<Bytes, CallError>) -> Answer {
    use crate::model::ErrorCode;
    match result {
        Ok(bytes) => {
            let mut answer = Response::new(Full::new(bytes));
            let octets = hyper::header::HeaderValue::from_static("application/octet-stream");
            answer.headers_mut().insert(CONTENT_TYPE, octets);
            answer
        }
        Err(CallError::Refused(refusal)) => {
            let status = match refusal.code {
                ErrorCode::NoNode => StatusCode::NOT_FOUND,
                ErrorCode::NoAuth => StatusCode::FORBIDDEN,
                ErrorCode::BadArguments => StatusCode::BAD_REQUEST,
                ErrorCode::Unimplemented => StatusCode::NOT_IMPLEMENTED,
                ErrorCode::OperationTimeout => StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::ThrottledOp => StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::SystemError => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::CONFLICT,
            };
            plain(status, format!("{} {}\n", refusal.code.name(), refusal.text))
        }
        Err(error @ CallError::NotLeading { .. }) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        // The call may have taken effect, so a proxy must not repeat it. Proxies may repeat after a 503.
        Err(error @ CallError::Unknown) => plain(StatusCode::BAD_GATEWAY, format!("{error}\n")),
    }
}

/// `NAME:PASSWORD` of HTTP basic authentication.
fn credential(request: &Request<Incoming>) -> Option<String> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let encoded = header.strip_prefix("Basic ").or_else(|| header.strip_prefix("basic "))?;
    String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()
}

fn plain(status: StatusCode, body: impl Into<String>) -> Answer {
    text(status, "text/plain; charset=utf-8", body)
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    answer
}
