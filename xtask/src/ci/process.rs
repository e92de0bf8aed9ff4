//! Commands with a time limit, servers under test, and a folder for both.
//!
//! `timeout` of coreutils keeps the limits, since it also ends the processes that a command has started. A server runs
//! under `timeout` as well: it ends with the time limit of CI even if this program is killed.

use std::fmt;
use std::fs::{self, File};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a running command is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// Seconds until a process that was asked to end is killed.
const KILL_AFTER_SECONDS: u64 = 10;

/// Seconds until a server must accept connections.
const START_SECONDS_MAX: u64 = 30;

/// The time that all steps share.
pub(crate) struct Budget {
    started: Instant,
    seconds_max: u64,
}

impl Budget {
    pub(crate) fn new(seconds_max: u64) -> Self {
        Self { started: Instant::now(), seconds_max }
    }

    pub(crate) fn seconds_used(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    pub(crate) fn seconds_left(&self) -> u64 {
        self.seconds_max.saturating_sub(self.seconds_used())
    }
}

/// A new folder below the system's temporary one, removed on drop.
pub(crate) struct WorkFolder(PathBuf);

impl WorkFolder {
    pub(crate) fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("wasmkeeper-ci-{}", std::process::id()));
        // Fails if somebody else has made the folder.
        fs::create_dir(&path).map_err(|error| format!("make {}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is shown of a command's output.
#[derive(Clone, Copy)]
pub(crate) enum Show {
    /// Everything, while the command runs.
    Live,
    /// This many last lines, once the command has ended.
    Tail(usize),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    /// The exit code; `None` if a signal ended the command.
    Failed(Option<i32>),
    /// The command took longer than its own limit, in seconds.
    TookTooLong(u64),
    /// The time that all steps share ended first.
    OutOfTime,
    /// Why the command could not be started.
    NotStarted(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => write!(f, "succeeded"),
            Self::Failed(Some(code)) => write!(f, "exit code {code}"),
            Self::Failed(None) => write!(f, "ended by a signal"),
            Self::TookTooLong(seconds) => write!(f, "took longer than {seconds} s"),
            Self::OutOfTime => write!(f, "the time of all steps was over"),
            Self::NotStarted(why) => write!(f, "{why}"),
        }
    }
}

pub(crate) struct Finished {
    pub(crate) end: End,
    /// Standard output and standard error, as they came.
    pub(crate) output: String,
}

/// Runs `command` for at most `seconds` and not beyond the budget. Its output goes to `log`, and is shown as `show`
/// says.
pub(crate) fn run(budget: &Budget, seconds: u64, command: &Command, log: &Path, show: Show) -> Finished {
    let left = budget.seconds_left();
    match watch(command, seconds.min(left).max(1), log, show) {
        Ok(end) => {
            let end = if matches!(end, End::TookTooLong(_)) && left < seconds { End::OutOfTime } else { end };
            let output = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            if let Show::Tail(lines) = show {
                print!("{}", tail(&output, lines));
            }
            if end != End::Succeeded {
                println!("{}: {end}", command.get_program().display());
            }
            Finished { end, output }
        }
        Err(why) => Finished { end: End::NotStarted(why), output: String::new() },
    }
}

fn watch(command: &Command, seconds: u64, log: &Path, show: Show) -> Result<End, String> {
    let started = Instant::now();
    let mut child = start(limited(command, seconds), log)?;
    let mut shown = matches!(show, Show::Live).then(|| File::open(log)).transpose().map_err(|e| e.to_string())?;
    loop {
        let ended = child.try_wait().map_err(|error| format!("wait for {:?}: {error}", command.get_program()))?;
        if let Some(file) = &mut shown {
            show_more(file);
        }
        if let Some(status) = ended {
            return Ok(judge(status, started.elapsed(), seconds));
        }
        sleep(PAUSE);
    }
}

fn judge(status: ExitStatus, took: Duration, seconds: u64) -> End {
    match status.code() {
        Some(0) => End::Succeeded,
        _ if took >= Duration::from_secs(seconds) => End::TookTooLong(seconds),
        code => End::Failed(code),
    }
}

/// Prints what has been added to `file` since the last call.
fn show_more(file: &mut File) {
    let mut added = Vec::new();
    if file.read_to_end(&mut added).is_ok() {
        let _ = std::io::stdout().write_all(&added);
        let _ = std::io::stdout().flush();
    }
}

/// The same command under `timeout`. In a terminal `timeout` stays in the foreground, so that Ctrl-C reaches the
/// command.
fn limited(command: &Command, seconds: u64) -> Command {
    let mut outer = Command::new("timeout");
    if std::io::stdin().is_terminal() {
        outer.arg("--foreground");
    }
    outer.arg(format!("--kill-after={KILL_AFTER_SECONDS}")).arg(seconds.to_string());
    outer.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer.env("CARGO_TERM_COLOR", "never");
    outer
}

fn start(mut command: Command, log: &Path) -> Result<Child, String> {
    let out = File::create(log).map_err(|error| format!("make {}: {error}", log.display()))?;
    let errors = out.try_clone().map_err(|error| format!("share {}: {error}", log.display()))?;
    command.stdin(Stdio::null()).stdout(out).stderr(errors);
    command.spawn().map_err(|error| format!("start {:?}: {error}", command.get_program()))
}

/// The last lines of `text`.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().flat_map(|line| [*line, "\n"]).collect()
}

/// A port of 127.0.0.1 that nobody listens on at the moment.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| format!("find a free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| format!("find a free port: {error}"))
}

/// A server under test on 127.0.0.1. Ends when dropped.
pub(crate) struct Server {
    /// `timeout`, which passes a signal on to the server.
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `binary serve` with `arguments`, and returns once the server accepts connections on `port`.
    pub(crate) fn start(
        budget: &Budget,
        binary: &Path,
        port: u16,
        arguments: &[String],
        log: PathBuf,
    ) -> Result<Self, String> {
        let mut command = Command::new(binary);
        command.arg("serve").args(arguments);
        let child = start(limited(&command, budget.seconds_left().max(1)), &log)?;
        let mut server = Self { child, log };
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let has_ended = !matches!(server.child.try_wait(), Ok(None));
            if has_ended || Instant::now() > deadline {
                server.print_log();
                return Err("the server does not accept connections".to_owned());
            }
            sleep(PAUSE);
        }
        Ok(server)
    }

    /// Prints the last lines that the server has logged.
    pub(crate) fn print_log(&self) {
        let text = fs::read(&self.log).unwrap_or_default();
        print!("-- the server's last lines:\n{}", tail(&String::from_utf8_lossy(&text), 10));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The shell has a `kill` of its own; the program of that name is not installed everywhere.
        let id = self.child.id().to_string();
        let _ = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).stderr(Stdio::null()).status();
        let deadline = Instant::now() + Duration::from_secs(KILL_AFTER_SECONDS + 5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(PAUSE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, budget: &Budget, seconds: u64, name: &str) -> Finished {
        let work = std::env::temp_dir().join(format!("wasmkeeper-ci-test-{}-{name}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let finished = run(budget, seconds, &command, &work, Show::Tail(0));
        let _ = fs::remove_file(work);
        finished
    }

    #[test]
    fn a_command_ends_in_one_of_three_ways() {
        let budget = Budget::new(60);
        let good = shell("echo out; echo err >&2", &budget, 20, "good");
        assert_eq!((good.end, good.output.as_str()), (End::Succeeded, "out\nerr\n"));
        assert_eq!(shell("exit 3", &budget, 20, "bad").end, End::Failed(Some(3)));
        assert_eq!(shell("sleep 20", &budget, 1, "slow").end, End::TookTooLong(1));
    }

    #[test]
    fn the_limit_of_all_steps_holds_for_each() {
        let budget = Budget { started: Instant::now(), seconds_max: 0 };
        assert_eq!(budget.seconds_left(), 0);
        assert_eq!(Budget::new(60).seconds_left(), 60);
        assert_eq!(shell("sleep 20", &budget, 20, "late").end, End::OutOfTime);
    }

    #[test]
    fn a_tail_has_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(tail("a", 5), "a\n");
        assert_eq!(tail("", 5), "");
    }
}
