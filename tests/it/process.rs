//! A server process for tests: the real binary on a free port of 127.0.0.1, with a data directory of its own.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Server {
    child: Child,
    pub port: u16,
    pub data_dir: PathBuf,
    extra: Vec<String>,
}

impl Server {
    /// Starts the binary on `data_dir` and waits until it serves. `extra`: more arguments of `serve`.
    pub fn start(data_dir: &Path, extra: &[&str]) -> Server {
        let extra: Vec<String> = extra.iter().map(|argument| argument.to_string()).collect();
        let port = free_port();
        let child = spawn(data_dir, port, &extra);
        let mut server = Server { child, port, data_dir: data_dir.to_owned(), extra };
        server.wait_until_serving();
        server
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGKILL, at once.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server ends");
    }

    /// SIGTERM; returns whether it ended well.
    pub fn terminate(&mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the server can be asked to end");
        self.child.wait().expect("the server ends").success()
    }

    /// Starts it again on the same port and data.
    pub fn restart(&mut self) {
        self.child = spawn(&self.data_dir, self.port, &self.extra);
        self.wait_until_serving();
    }

    fn wait_until_serving(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while four_letters(self.port, "ruok").as_deref() != Some("imok") {
            if let Some(status) = self.child.try_wait().expect("the server can be asked for its status") {
                panic!("the server ended before it served: {status}");
            }
            assert!(Instant::now() < deadline, "the server does not serve after a minute");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the binary without waiting: for servers that are expected to refuse to start.
pub fn command(data_dir: &Path, port: u16, extra: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmkeeper"));
    command.arg("serve").arg("--data-dir").arg(data_dir).arg("--listen").arg(format!("127.0.0.1:{port}"));
    command.arg("-D").arg("zookeeper.4lw.commands.whitelist=*").args(extra);
    command
}

fn spawn(data_dir: &Path, port: u16, extra: &[String]) -> Child {
    command(data_dir, port, extra).stdin(Stdio::null()).spawn().expect("the binary was built")
}

/// Sends a four letter word and returns the answer; none if nobody answers.
pub fn four_letters(port: u16, word: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("loopback has a free port").port()
}
