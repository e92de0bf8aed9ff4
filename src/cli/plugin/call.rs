//! `plugin call`: a native call of a recipe, by the HTTP interface of the server that leads.

use crate::client;
use crate::limits;
use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long a call may take. A call waits until the log and a quorum have its transaction.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args, Debug)]
pub(super) struct Call {
    name: String,
    method: String,

    /// The payload, as it is, or @FILE
    #[arg(default_value = "")]
    payload: String,

    /// Where HTTP is served (admin.serverPort)
    #[arg(long, env = "WASMKEEPER_HTTP", default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    http: String,
}

/// Calls the recipe and prints what it returns. `auth`: `digest:NAME:PASSWORD`.
pub(super) fn call(call: &Call, auth: Option<&str>) -> anyhow::Result<()> {
    let payload = match call.payload.strip_prefix('@') {
        Some(file) => std::fs::read(file).with_context(|| format!("read {file}"))?,
        None => call.payload.as_bytes().to_vec(),
    };
    for part in [&call.name, &call.method] {
        if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) || part.is_empty() {
            bail!("{part}: a name of letters, digits, -, _ and . is required");
        }
    }
    let credential = match auth {
        None => String::new(),
        Some(auth) => {
            let pair = auth.strip_prefix("digest:").context("--auth: digest:NAME:PASSWORD is required")?;
            format!("Authorization: Basic {}\r\n", STANDARD.encode(pair))
        }
    };
    let http = client::address(&call.http, limits::ADMIN_PORT).with_context(|| {
        format!("--http: `{}` is no address: write HOST:PORT, for example 127.0.0.1:8080", call.http)
    })?;
    let mut socket = TcpStream::connect(&http)
        .with_context(|| format!("connect to {}: does the server run with admin.enableServer=true?", call.http))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let head = format!(
        "POST /plugins/{}/call/{} HTTP/1.1\r\nHost: {}\r\n{credential}Content-Length: {}\r\nConnection: close\r\n\r\n",
        call.name,
        call.method,
        call.http,
        payload.len()
    );
    socket.write_all(head.as_bytes())?;
    socket.write_all(&payload)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).context("read the answer")?;
    let (status, body) = parse(&answer).context("the answer is no HTTP")?;
    if status == 200 {
        std::io::stdout().write_all(body)?;
        return Ok(());
    }
    bail!("{}", String::from_utf8_lossy(body).trim());
}

/// Status and body of an HTTP answer that ends with its connection. None: the bytes are no HTTP.
fn parse(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = answer.split_at_checked(end + 4)?;
    let status = std::str::from_utf8(head).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"), Some((200, &b"body"[..])));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(parse(b"HTTP/1.1\r\n\r\n"), None);
    }
}
