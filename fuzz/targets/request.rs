//! Hellos and requests: no bytes panic. A request that was decoded, encoded and decoded again is the same.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use wasmkeeper::client::codec;
use wasmkeeper::wire::decode;
use wasmkeeper::wire::decode::DecodeError;
use wasmkeeper::wire::request::Request;

fn round_trip(request: &Request) -> Result<Request, DecodeError> {
    let mut out = BytesMut::new();
    codec::request(&mut out, 1, request);
    decode::request(out.freeze().slice(4..)).map(|(_, request)| request)
}

fuzz_target!(|input: &[u8]| {
    let frame = Bytes::copy_from_slice(input);
    let _ = decode::connect_request(&frame);
    let Ok((_, request)) = decode::request(frame) else { return };
    // The first trip turns characters beyond the first plane into replacement characters, as between Java's writer and
    // reader. A createTTL in a multi whose mode is no TTL mode comes back as a create, which is decoded more strictly.
    match round_trip(&request) {
        Ok(once) => assert_eq!(round_trip(&once), Ok(once)),
        Err(error) => assert!(matches!(request, Request::Multi(_)), "{request:?} comes back as {error}"),
    }
});
