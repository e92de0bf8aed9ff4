#!/usr/bin/env bash
# redb 4.6.0 (crates.io): commits with Durability::None survive closing and reopening the database, although no durable
# commit followed. A crash at the same moment loses them.
#
# Guess: Readers in the process see such a commit. After closing and opening it is gone, unless a commit with
#   Durability::Immediate followed.
# Instead: Dropping the Database makes the last state durable. A copy of the file from before the drop, which is what a
#   crash leaves, opens without complaint at the last durable commit.
# Why it matters: A test that "restarts" a server by dropping and opening its store passes even if every commit has
#   Durability::None. Only a killed process, or a copy of the file taken while it is open, shows the loss.
# Documents: redb::Durability::None: "Commits with this durability level will not be persisted to disk unless followed
#   by a commit with Durability::Immediate."
set -euo pipefail
. "$(dirname "$0")/lib.sh"
mkdir -p "$work/program/src"
cat > "$work/program/Cargo.toml" <<'TOML'
[package]
name = "program"
version = "0.0.0"
edition = "2021"
[dependencies]
redb = "=4.6.0"
[workspace]
TOML
cat > "$work/program/src/main.rs" <<'RUST'
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

const TABLE: TableDefinition<u64, u64> = TableDefinition::new("t");

fn put(database: &Database, key: u64, durability: Durability) {
    let mut transaction = database.begin_write().unwrap();
    transaction.set_durability(durability).unwrap();
    transaction.open_table(TABLE).unwrap().insert(key, key).unwrap();
    transaction.commit().unwrap();
}

fn keys(database: &Database) -> Vec<u64> {
    let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
    table.iter().unwrap().map(|entry| entry.unwrap().0.value()).collect()
}

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let copy = format!("{path}.copy");
    let database = Database::create(&path).unwrap();
    put(&database, 1, Durability::Immediate);
    put(&database, 2, Durability::None);
    put(&database, 3, Durability::None);
    println!("readers = {:?}", keys(&database));
    std::fs::copy(&path, &copy).unwrap();
    drop(database);
    println!("after drop and open = {:?}", keys(&Database::open(&path).unwrap()));
    println!("copy from before the drop = {:?}", keys(&Database::open(&copy).unwrap()));
}
RUST
echo "crates.io: redb 4.6.0"
CARGO_TARGET_DIR=$cache/redb-4.6.0 cargo build -q -j 1 --manifest-path "$work/program/Cargo.toml"
"$cache/redb-4.6.0/debug/program" "$work/t.redb" > "$work/seen"
expect_lines "$work/seen" <<'SEEN'
readers = [1, 2, 3]
after drop and open = [1, 2, 3]
copy from before the drop = [1]
SEEN
finish
