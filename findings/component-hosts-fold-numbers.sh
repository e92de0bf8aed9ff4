#!/usr/bin/env bash
# Component hosts in Python (wasmtime 50.0.1) and JavaScript (jco 1.35.0) fold a number that is out of range into the
# range, without an error. The JavaScript host also takes almost any value for a number or a boolean.
#
# Guess: The host checks WIT's types at the border. A u8 of 300 or a u32 of -1 raises an error, as a string in place of
#   a number does.
# Instead: Both hosts reduce the number modulo 2^n, in arguments and in the results of host functions: 300 arrives as
#   44, -1 as 4294967295. Python refuses a wrong type. jco refuses a wrong type for strings, but converts to numbers and
#   booleans as JavaScript's operators do. A host function that forgets `return` yields 0 or false. One that is `async`
#   by mistake yields 0 or true, whatever its promise yields.
# Why it matters: ZooKeeper's "any version" is -1 and its versions are signed. Through an interface that says u32 the
#   component gets 4294967295. A host must check ranges and types before it hands a value over. TypeScript's
#   declarations (number, boolean) do not help with ranges.
# Documents: jco's book, "WIT Type Representations", maps u8 to number and bool to boolean and does not mention
#   conversions. The Component Model's explainer gives u8 the values 0 to 255.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
python_with wasmtime==50.0.1
npm_with @bytecodealliance/jco@1.35.0
cat > "$work/echo.wat" <<'WAT'
(component
  (import "number" (func $number (result u32)))
  (import "answer" (func $answer (result bool)))
  (core func $number_core (canon lower (func $number)))
  (core func $answer_core (canon lower (func $answer)))
  (core module $m
    (import "host" "number" (func $number (result i32)))
    (import "host" "answer" (func $answer (result i32)))
    (func (export "same") (param i32) (result i32) local.get 0)
    (func (export "number") (result i32) call $number)
    (func (export "answer") (result i32) call $answer))
  (core instance $host (export "number" (func $number_core)) (export "answer" (func $answer_core)))
  (core instance $i (instantiate $m (with "host" (instance $host))))
  (alias core export $i "same" (core func $same))
  (alias core export $i "number" (core func $ask_number))
  (alias core export $i "answer" (core func $ask_answer))
  (func (export "u8") (param "x" u8) (result u8) (canon lift (core func $same)))
  (func (export "u32") (param "x" u32) (result u32) (canon lift (core func $same)))
  (func (export "bool") (param "x" bool) (result bool) (canon lift (core func $same)))
  (func (export "ask-number") (result u32) (canon lift (core func $ask_number)))
  (func (export "ask-answer") (result bool) (canon lift (core func $ask_answer))))
WAT
"$python" - "$work/echo.wat" >> "$work/seen" <<'PY'
import sys
import wasmtime
from wasmtime import component

engine = wasmtime.Engine()
echo = component.Component(engine, open(sys.argv[1]).read())


def call(name, *arguments, number=lambda store: 0, answer=lambda store: True):
    store = wasmtime.Store(engine)
    linker = component.Linker(engine)
    with linker.root() as root:
        root.add_func("number", number)
        root.add_func("answer", answer)
    instance = linker.instantiate(store, echo)
    try:
        return instance.get_func(store, name)(store, *arguments)
    except Exception as e:
        return type(e).__name__


print("Python, u8 of 300 =", call("u8", 300))
print("Python, u32 of -1 =", call("u32", -1))
print("Python, u8 of a string =", call("u8", "7"))
print("Python, host's u32 is -1 =", call("ask-number", number=lambda store: -1))
print("Python, host's u32 is None =", call("ask-number", number=lambda store: None))
print("Python, host's bool is None =", call("ask-answer", answer=lambda store: None))
PY
cat > "$work/host.mjs" <<'JS'
import { createRequire } from 'node:module';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [wat, modules, out] = process.argv.slice(2);
const jco = await import(pathToFileURL(createRequire(join(modules, 'x.js')).resolve('@bytecodealliance/jco')));
const { files } = await jco.transpile(await jco.parse(await readFile(wat, 'utf8')), { name: 'echo', instantiation: 'async' });
for (const [name, bytes] of Object.entries(files)) {
  await mkdir(dirname(join(out, name)), { recursive: true });
  await writeFile(join(out, name), bytes);
}
await writeFile(join(out, 'package.json'), '{"type":"module"}');
const { instantiate } = await import(pathToFileURL(join(out, 'echo.js')));

async function call(name, argument, host = {}) {
  const number = { default: host.number ?? (() => 0) };
  const answer = { default: host.answer ?? (() => true) };
  const component = await instantiate(undefined, { number, answer });
  try {
    return component[name](argument);
  } catch (e) {
    return e.name;
  }
}

console.log('jco, u8 of 300 =', await call('u8', 300));
console.log('jco, u32 of -1 =', await call('u32', -1));
console.log('jco, u8 of a string =', await call('u8', '7'));
console.log('jco, u8 of undefined =', await call('u8', undefined));
console.log('jco, bool of "false" =', await call('bool', 'false'));
console.log('jco, host forgets to return a u32 =', await call('askNumber', undefined, { number: () => {} }));
console.log('jco, host forgets to return a bool =', await call('askAnswer', undefined, { answer: () => {} }));
console.log('jco, host is async, u32 of 5 =', await call('askNumber', undefined, { number: async () => 5 }));
console.log('jco, host is async, bool of false =', await call('askAnswer', undefined, { answer: async () => false }));
JS
node "$work/host.mjs" "$work/echo.wat" "$node_modules" "$work/out" >> "$work/seen"
expect_lines "$work/seen" <<'SEEN'
Python, u8 of 300 = 44
Python, u32 of -1 = 4294967295
Python, u8 of a string = TypeError
Python, host's u32 is -1 = 4294967295
Python, host's u32 is None = TypeError
Python, host's bool is None = TypeError
jco, u8 of 300 = 44
jco, u32 of -1 = 4294967295
jco, u8 of a string = 7
jco, u8 of undefined = 0
jco, bool of "false" = true
jco, host forgets to return a u32 = 0
jco, host forgets to return a bool = false
jco, host is async, u32 of 5 = 0
jco, host is async, bool of false = true
SEEN
finish
