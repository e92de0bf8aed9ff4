#!/usr/bin/env bash
# Wasmtime: the same module called with the same arguments costs 5 units of fuel in version 45 and 1,048,581 in version
# 46.
#
# Guess: Fuel is a deterministic measure of work. Most instructions cost 1 in every release, so a budget that was
#   measured once holds, and two hosts agree whether a call runs out.
# Instead: Prices differ between releases. Up to 45 memory.fill, memory.copy and table.grow cost 1, however much they
#   move. Since 46 they cost 1 for each byte or element. memory.grow costs 1 up to 48 and 1 more for each page since 49.
#   A plain loop costs the same in all. Filling 1 MiB costs 5, then 1,048,581.
# Why it matters: A budget of fuel is part of a plugin's contract. After an upgrade of the host, calls run out of fuel
#   that never did, first those with large values: compilers turn copies into memory.copy. If several replicas run the
#   plugin and fuel decides the outcome, they disagree during a rolling upgrade. Before 46 fuel did not bound the bytes
#   moved, so a host had to bound time as well.
# Documents: wasmtime::Config::consume_fuel: "can be used to deterministically prevent infinitely-executing WebAssembly
#   code". Store::set_fuel: "Most WebAssembly instructions consume 1 unit of fuel." Neither says that prices may change.
#   Prices for each byte are named only at Config::operator_cost.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cat > "$work/fuel.py" <<'PY'
import wasmtime

config = wasmtime.Config()
config.consume_fuel = True
engine = wasmtime.Engine(config)
store = wasmtime.Store(engine)
store.set_fuel(10**9)
module = wasmtime.Module(engine, """(module
  (memory 32)
  (func (export "memory.fill") (param i32) (memory.fill (i32.const 0) (i32.const 7) (local.get 0)))
  (func (export "memory.copy") (param i32) (memory.copy (i32.const 0) (i32.const 8) (local.get 0)))
  (func (export "memory.grow") (param i32) (drop (memory.grow (local.get 0))))
  (func (export "loop") (param i32)
    (loop $again (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))""")
exports = wasmtime.Instance(store, module, []).exports(store)
for name, argument in (("memory.fill", 0), ("memory.fill", 1 << 20), ("memory.copy", 1 << 20), ("memory.grow", 100), ("loop", 1000)):
    before = store.get_fuel()
    exports[name](store, argument)
    print("%s %d = %d" % (name, argument, before - store.get_fuel()))
PY
for version in 45.0.0 46.0.1 48.0.0 49.0.0 50.0.1; do
  python_with "wasmtime==$version"
  "$python" "$work/fuel.py" | sed "s/^/$version, /" >> "$work/seen"
done
expect_lines "$work/seen" <<'SEEN'
45.0.0, memory.fill 0 = 5
45.0.0, memory.fill 1048576 = 5
45.0.0, memory.copy 1048576 = 5
45.0.0, memory.grow 100 = 3
45.0.0, loop 1000 = 5001
46.0.1, memory.fill 0 = 5
46.0.1, memory.fill 1048576 = 1048581
46.0.1, memory.copy 1048576 = 1048581
46.0.1, memory.grow 100 = 3
46.0.1, loop 1000 = 5001
48.0.0, memory.grow 100 = 3
49.0.0, memory.grow 100 = 103
50.0.1, memory.fill 1048576 = 1048581
50.0.1, memory.grow 100 = 103
50.0.1, loop 1000 = 5001
SEEN
finish
