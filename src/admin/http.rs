//! HTTP for operators and their tools: metrics, readiness, plugins. Off unless it is configured.
//!
//! | request | answers |
//! |---|---|
//! | `GET /metrics` | figures in Prometheus' text format |
//! | `GET /healthz` | 200 while the process answers |
//! | `GET /readyz` | 200 if clients are served and every plugin that shall run does; else 503, and why |
//! | `GET /plugins` | every plugin's state and counters, as JSON |
//!
//! Promises: an answer is bounded in time, so nobody can hold a place for long, and there are at most
//! `limits::ADMIN_CONNECTIONS_MAX`; nothing is changed.

use crate::limits;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// What the server behind it tells and does.
pub trait Admin: Send + Sync + 'static {
    /// In Prometheus' text format.
    fn metrics(&self) -> String;
    /// Whether clients can be sent here; else a sentence that says why not.
    fn ready(&self) -> Result<(), String>;
    /// JSON.
    fn plugins(&self) -> String;
}

/// Listens there. The error is a sentence.
pub fn bind(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    use anyhow::Context;
    let listener = std::net::TcpListener::bind(address)
        .with_context(|| format!("listen on {address} for HTTP: admin.serverPort chooses another port"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Runs until it is aborted.
pub async fn serve(listener: TcpListener, admin: Arc<dyn Admin>) {
    let places = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (socket, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: they come back.
                tracing::warn!(%error, "accept a connection for HTTP");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let admin = admin.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let admin = admin.clone();
                async move { Ok::<_, Infallible>(answer(&*admin, &request)) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::ADMIN_HEADER_TIMEOUT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(socket), answer);
            // Whatever goes wrong on the way is the caller's to notice.
            let _ = tokio::time::timeout(limits::ADMIN_ANSWER_TIMEOUT, connection).await;
            drop(place);
        });
    }
}

type Answer = Response<Full<Bytes>>;

fn answer(admin: &dyn Admin, request: &Request<Incoming>) -> Answer {
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
        (_, ["metrics" | "healthz" | "readyz" | "plugins"]) => {
            plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is possible\n")
        }
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics, /healthz, /readyz and /plugins\n"),
    }
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
