//! Ends the process when it cannot keep its promises any more.

/// Ends the process with a sentence for the operator.
#[expect(clippy::disallowed_methods, reason = "this is the place that ends the process")]
pub(in crate::replica) fn die(sentence: &str) -> ! {
    crate::hooks::die(sentence);
    tracing::error!("{sentence}");
    eprintln!("wasmkeeper: {sentence}");
    std::process::exit(1);
}

/// Ends the process if the thread panics while this value lives. The value names the work.
///
/// It guards work that would stay half done after a panic, because no other thread finishes it. Everything acknowledged
/// is in the log, where the next start finds it.
pub(in crate::replica) struct DieOnPanic(pub(crate) &'static str);

impl Drop for DieOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            die(&format!("{} panicked: this is a bug, the lines before say where; start the server again", self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Runs this test once more in a child process, because the panic ends the process.
    #[test]
    fn a_panic_under_guard_ends_the_process_with_a_sentence() {
        const CHILD: &str = "WASMKEEPER_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            let _guard = DieOnPanic("a test");
            panic!("on purpose");
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        let this = "replica::fatal::tests::a_panic_under_guard_ends_the_process_with_a_sentence";
        let output = command.args(["--exact", "--nocapture", this]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("wasmkeeper: a test panicked: this is a bug"), "{said}");
    }
}
