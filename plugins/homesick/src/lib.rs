//! `homesick`: a validator that uses WASI. It tests the server's stand-ins for WASI (`plugin::guest::stand_ins`). The
//! setting `do` says what it tries. The text of its refusal says what it found.

wit_bindgen::generate!({
    path: ["../../wit", "wasi.wit"],
    world: "wasmkeeper:homesick/homesick",
    generate_all,
});

use exports::wasmkeeper::plugin::{setup, validation};
use std::cell::RefCell;
use wasi::cli::{environment, exit, stderr, stdin, stdout, terminal_stdout};
use wasi::clocks::{monotonic_clock, wall_clock};
use wasi::filesystem::preopens;
use wasi::io::{poll, streams};
use wasi::random::{insecure_seed, random};

struct Homesick;

thread_local! {
    static SETTINGS: RefCell<String> = const { RefCell::new(String::new()) };
}

impl setup::Guest for Homesick {
    fn configure(_mount: String, settings: String) -> Result<(), String> {
        if settings.contains("configure") {
            return Err(time());
        }
        SETTINGS.set(settings);
        Ok(())
    }
}

impl validation::Guest for Homesick {
    fn validate(_view: &validation::View, _changes: Vec<validation::Change>) -> Result<(), validation::Rejection> {
        let settings = SETTINGS.take();
        let found = ["print", "fail", "time", "random", "surroundings", "wait", "exit", "much"]
            .into_iter()
            .find(|what| settings.contains(what));
        let text = match found {
            Some("print") => print(),
            Some("fail") => {
                write(&stderr::get_stderr(), "half a word");
                panic!("it fails");
            }
            Some("time") => time(),
            Some("random") => chance(),
            Some("surroundings") => surroundings(),
            Some("wait") => {
                monotonic_clock::subscribe_duration(1_000_000).block();
                "it waited".into()
            }
            Some("exit") => {
                exit::exit(Ok(()));
                "it went on".into()
            }
            Some("much") => random::get_random_bytes(1 << 30).len().to_string(),
            _ => return Ok(()),
        };
        Err(validation::Rejection { code: -8, text })
    }
}

fn print() -> String {
    let (output, error) = (stdout::get_stdout(), stderr::get_stderr());
    let room = output.check_write().unwrap_or(0);
    write(&output, "one line\n\ntwo ");
    write(&error, "of error\n");
    write(&output, "lines\nunfinished");
    output.blocking_flush().expect("it can be flushed");
    format!("room {}", room > 0)
}

fn write(stream: &streams::OutputStream, text: &str) {
    stream.write(text.as_bytes()).expect("it can be written");
}

fn time() -> String {
    let wall = wall_clock::now();
    format!("{}.{:09} {}", wall.seconds, wall.nanoseconds, monotonic_clock::now())
}

fn chance() -> String {
    let first = random::get_random_u64();
    let same = first == random::get_random_u64();
    format!("{first:x} {same} {} {}", random::get_random_bytes(13).len(), insecure_seed::insecure_seed().0 != first)
}

fn surroundings() -> String {
    let input = stdin::get_stdin();
    let ready = poll::poll(&[&input.subscribe()]);
    format!(
        "environment {} arguments {} folders {} terminal {} input closed {} ready {ready:?}",
        environment::get_environment().len(),
        environment::get_arguments().len(),
        preopens::get_directories().len(),
        terminal_stdout::get_terminal_stdout().is_some(),
        matches!(input.read(8), Err(streams::StreamError::Closed)),
    )
}

export!(Homesick);
