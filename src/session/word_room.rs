//! Room for four letter words while the limits on connections are reached.
//!
//! ZooKeeper closes a connection beyond `maxCnxns` or `maxClientCnxns` at once, so at that moment its operators get no
//! answer either. Here such a connection may still ask a four letter word, and nothing else. It has little time, and
//! there are few of them: if there are too many, the oldest goes. A word arrives with its connection. So connections
//! that say nothing keep no operator out.

use super::Server;
use super::workers::Workers;
use crate::limits;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// The connections beyond the limits that may ask a word.
#[derive(Default)]
pub(super) struct WordRoom {
    /// The tasks that may still run, oldest first.
    ///
    /// Invariant: no more than `limits::WORD_CONNECTIONS_MAX`.
    oldest_first: VecDeque<AbortHandle>,
}

impl WordRoom {
    /// Lets a connection ask one word. `refusal`: the limit that is reached.
    pub(super) fn take(
        &mut self,
        socket: TcpStream,
        peer: SocketAddr,
        refusal: &'static str,
        server: &Arc<dyn Server>,
        workers: &Workers,
    ) -> io::Result<()> {
        self.oldest_first.retain(|task| !task.is_finished());
        if self.oldest_first.len() >= limits::WORD_CONNECTIONS_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
            server.connections().count_rejected();
        }
        let server = server.clone();
        let socket = socket.into_std()?;
        let (worker, _) = workers.next();
        let task = worker.spawn(async move {
            let asked = async { answer(TcpStream::from_std(socket)?, peer, &*server).await };
            let answered = tokio::time::timeout(limits::WORD_PATIENCE, asked).await;
            if !matches!(answered, Ok(Ok(true))) {
                server.connections().count_rejected();
                tracing::warn!(%peer, reason = refusal, "turning a client away");
            }
        });
        self.oldest_first.push_back(task.abort_handle());
        let count = self.oldest_first.len();
        assert!(count <= limits::WORD_CONNECTIONS_MAX, "{count} connections may ask a word");
        Ok(())
    }
}

/// Answers a word. Returns whether one was asked.
async fn answer(mut socket: TcpStream, peer: SocketAddr, server: &dyn Server) -> io::Result<bool> {
    let words = server.four_letter_words();
    let mut word = [0; 4];
    socket.read_exact(&mut word).await?;
    let Some(argument_bytes) = words.argument_bytes(word) else { return Ok(false) };
    let mut argument = vec![0; argument_bytes];
    socket.read_exact(&mut argument).await?;
    let answer = words.answer(word, &argument, peer);
    socket.write_all(&answer).await?;
    socket.shutdown().await?;
    Ok(true)
}
