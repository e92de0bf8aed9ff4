//! A server process for tests: the real binary on a free port of 127.0.0.1, with a data directory of its own.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use zookeeper_client::{Client, Connector};

/// How long a server may take to start or to end. Only a server that hangs takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The timeout of clients' sessions. The client gives up a server that has not answered for two fifths of the timeout.
/// On a busy machine a server that compiles a plugin or waits for its disk can be silent for long.
const SESSION_TIMEOUT: Duration = Duration::from_secs(40);

const LOOPBACK: &str = "127.0.0.1";

pub(crate) struct Server {
    child: Child,
    /// The port on which the server listens.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) data_dir: PathBuf,
    extra: Vec<String>,
    /// A program and its arguments through which the server is started. See `DEAF_TO_FILE_SIZES`.
    through: Vec<String>,
    /// The standard error of all processes that this server has had.
    stderr: tempfile::NamedTempFile,
}

/// Runs a server that ignores SIGXFSZ. That signal would end the process when a file exceeds its limit
/// (`Server::limit`). With the signal ignored, the write fails instead.
pub(crate) const DEAF_TO_FILE_SIZES: [&str; 3] = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];

impl Server {
    /// Starts the binary on `data_dir` and waits until it serves. `extra`: more arguments of `serve`.
    pub(crate) fn start(data_dir: &Path, extra: &[&str]) -> Server {
        let extra = extra.iter().map(|argument| argument.to_string()).collect();
        Server::start_by(data_dir, extra)
    }

    /// Like `start`, but through `DEAF_TO_FILE_SIZES`.
    pub(crate) fn start_deaf_to_file_sizes(data_dir: &Path) -> Server {
        let mut server = Server::launch(data_dir, (LOOPBACK, free_port()), Vec::new(), &DEAF_TO_FILE_SIZES);
        server.wait_until_serving();
        server
    }

    fn start_by(data_dir: &Path, extra: Vec<String>) -> Server {
        let mut server = Server::launch(data_dir, (LOOPBACK, free_port()), extra, &[]);
        server.wait_until_serving();
        server
    }

    /// Starts a server at this address, through a program if `through` names one. Does not wait until the server
    /// serves.
    pub(crate) fn launch(data_dir: &Path, (host, port): (&str, u16), extra: Vec<String>, through: &[&str]) -> Server {
        let stderr = tempfile::NamedTempFile::new().expect("a temporary file");
        let through: Vec<String> = through.iter().map(|word| word.to_string()).collect();
        let child = spawn(wrapped(&through, command_on(host, data_dir, port, &extra)), &stderr);
        Server { child, host: host.to_owned(), port, data_dir: data_dir.to_owned(), extra, through, stderr }
    }

    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(crate) async fn connect(&self) -> Client {
        connector().connect(&self.address()).await.expect("connects")
    }

    /// Ends the process with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server ends");
    }

    /// Sends SIGTERM, and does not wait for the end.
    pub(crate) fn ask_to_end(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Whether all threads of the process are stopped (SIGSTOP).
    pub(crate) fn stands_still(&self) -> bool {
        let mut threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the process lives");
        let is_stopped = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(thread.expect("a thread").path().join("stat")).unwrap_or_default();
            // The state stands behind the name, which is in parentheses.
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        };
        threads.all(is_stopped)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the server can be sent a signal");
    }

    /// Sends SIGTERM and waits for the end. Returns whether the process exited with success.
    pub(crate) fn terminate(&mut self) -> bool {
        self.ask_to_end();
        self.child.wait().expect("the server ends").success()
    }

    /// Waits until the process has ended. Returns whether it exited with success.
    pub(crate) fn wait_for_its_end(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the server can be asked for its status") {
                return status.success();
            }
            assert!(Instant::now() < deadline, "the server goes on:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the server again on the same port and data, and waits until it serves.
    pub(crate) fn restart(&mut self) {
        self.relaunch();
        self.wait_until_serving();
    }

    /// Like `restart`, but does not wait.
    pub(crate) fn relaunch(&mut self) {
        let command = command_on(&self.host, &self.data_dir, self.port, &self.extra);
        self.child = spawn(wrapped(&self.through, command), &self.stderr);
    }

    /// Like `restart`, but with other arguments.
    pub(crate) fn restart_with(&mut self, extra: &[&str]) {
        self.extra = extra.iter().map(|argument| argument.to_string()).collect();
        self.restart();
    }

    /// Everything that the server's processes have written to standard error.
    pub(crate) fn said(&self) -> String {
        let mut text = String::new();
        let mut file = self.stderr.reopen().expect("the file is still there");
        file.read_to_string(&mut text).expect("the server writes text");
        text
    }

    /// Sets a limit of the running process (as `ulimit` does).
    pub(crate) fn limit(&self, resource: rustix::process::Resource, bound: Option<u64>) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let former =
            rustix::process::prlimit(Some(pid), resource, rustix::process::Rlimit { current: bound, maximum: None });
        former.expect("a parent may limit its child");
    }

    /// Sends a four letter word and returns the answer. `None` if nothing answers.
    pub(crate) fn ask(&self, word: &str) -> Option<String> {
        four_letters_of(&self.host, self.port, word)
    }

    /// Panics if the process has ended.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("the server can be asked for its status") {
            panic!("the server ended: {status}\n{}", self.said());
        }
    }

    fn wait_until_serving(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.ask("ruok").as_deref() != Some("imok") {
            self.assert_running();
            assert!(Instant::now() < deadline, "the server does not serve after a minute:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.said());
        }
    }
}

/// The command `serve`, not started yet, for tests in which the server refuses to start. All four letter words are
/// allowed, unless `extra` sets the whitelist.
pub(crate) fn command(data_dir: &Path, port: u16, extra: &[String]) -> Command {
    command_on(LOOPBACK, data_dir, port, extra)
}

fn command_on(host: &str, data_dir: &Path, port: u16, extra: &[String]) -> Command {
    let mut command = wasmkeeper(&["serve", "--listen", &format!("{host}:{port}")]);
    command.arg("--data-dir").arg(data_dir);
    if !extra.iter().any(|argument| argument.starts_with("zookeeper.4lw.commands.whitelist=")) {
        command.args(["-D", "zookeeper.4lw.commands.whitelist=*"]);
    }
    command.args(extra);
    command
}

/// The binary with these arguments, without the environment variables of the person who runs the tests.
pub(crate) fn wasmkeeper(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmkeeper"));
    for variable in ["WASMKEEPER_LOG", "WASMKEEPER_LOG_FORMAT", "WASMKEEPER_SERVER", "WASMKEEPER_AUTH", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The standard output and standard error of a command that has ended.
pub(crate) fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The command, started through another program.
fn wrapped(through: &[String], command: Command) -> Command {
    let Some((program, arguments)) = through.split_first() else { return command };
    let mut outer = Command::new(program);
    outer.args(arguments).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (variable, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(variable, value),
            None => outer.env_remove(variable),
        };
    }
    outer
}

fn spawn(mut command: Command, stderr: &tempfile::NamedTempFile) -> Child {
    let appended = std::fs::OpenOptions::new().append(true).open(stderr.path()).expect("the file is still there");
    command.stderr(appended).spawn().expect("the binary was built")
}

/// Sends a four letter word and returns the answer. `None` if nothing answers.
pub(crate) fn four_letters(port: u16, word: &str) -> Option<String> {
    four_letters_of(LOOPBACK, port, word)
}

fn four_letters_of(host: &str, port: u16, word: &str) -> Option<String> {
    use std::io::Write as _;
    let address = format!("{host}:{port}").parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A client with a long session timeout.
pub(crate) fn connector() -> Connector {
    Client::connector().with_session_timeout(SESSION_TIMEOUT)
}

/// A free port of loopback, a different one with each call. The port is below 32768, where the kernel's ports for
/// outgoing connections begin: otherwise a connection could take the port before the server does.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static CALLS: AtomicU32 = AtomicU32::new(0);
    // Another process's tests may run on this machine.
    let first = std::process::id().wrapping_mul(997);
    loop {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        assert!(call < COUNT, "loopback has a free port");
        let port = (FIRST + first.wrapping_add(call) % COUNT) as u16;
        if TcpListener::bind((LOOPBACK, port)).is_ok() {
            return port;
        }
    }
}
