//! A connection that begins with any octets, read as a header of the PROXY protocol.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| restante::fuzzing::proxy_header(input));
